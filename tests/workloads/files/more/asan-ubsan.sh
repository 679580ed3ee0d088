# needs: gcc
cat > a.c <<'X'
#include <stdlib.h>
#include <stdio.h>
int main(){char*p=malloc(10); p[3]=1; printf("%d\n",p[3]); free(p); return p[2];}
X
gcc -fsanitize=address -g a.c -o a && ./a 2>&1 | grep -c ERROR; gcc -fsanitize=undefined -g a.c -o u && ./u; echo
