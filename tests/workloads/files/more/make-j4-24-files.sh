# needs: make gcc
mkdir p; cd p; for i in $(seq 24); do echo "#include <stdlib.h>
#include <string.h>
int f$i(int x){char b[100]; memset(b,x,100); return b[3]+$i;}" > s$i.c; done; (echo 'int main(){int s=0;'; for i in $(seq 24); do echo "extern int f$i(int); s+=f$i(1);"; done; echo 'return s==324?0:1;}') > m.c; echo 'S=$(wildcard *.c)
prog: $(S:.c=.o)
	gcc -o $@ $^
%.o: %.c
	gcc -O2 -c -o $@ $<' > Makefile; make -s -j4; ./prog; echo $?
