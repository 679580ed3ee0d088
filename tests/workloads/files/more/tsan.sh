# needs: gcc
cat > a.c <<'X'
#include <pthread.h>
#include <stdio.h>
int g; void*f(void*x){g++;return x;}
int main(){pthread_t t; pthread_create(&t,0,f,0); g++; pthread_join(t,0); printf("%d\n",g);}
X
gcc -fsanitize=thread -g a.c -o a -lpthread && ./a 2>&1 | head -3
