# needs: gcc g++ make
cat > a.c <<X
#include <stdio.h>
int f(int); int main(){printf("%d\n", f(3));}
X
cat > b.c <<X
int f(int x){return x*x;}
X
printf 'all: a\na: a.o b.o\n\tgcc -o $@ $^\n%%.o: %%.c\n\tgcc -O2 -g -pipe -c $<\nrun: a\n\t./a\n' > Makefile; make -j4 -s run; g++ -std=c++17 -x c++ -O1 -o v - <<X && ./v
#include <map>
#include <iostream>
#include <thread>
int main(){std::map<int,int> m; std::thread t([&]{for(int i=0;i<1000;i++)m[i*7%31]+=i;}); t.join(); for(auto&p:m)std::cout<<p.first<<' '<<p.second<<' '; try{throw 3;}catch(int i){std::cout<<i<<'\n';}}
X
gcc -flto -O2 a.c b.c -o l && ./l; gcc -static a.c b.c -o s && ./s
