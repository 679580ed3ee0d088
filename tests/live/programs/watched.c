/* Writes `counter` N times and reads it as often. */
#include <stdio.h>
#include <stdlib.h>

volatile long counter;
long *volatile null;

__attribute__((noinline)) void site(long *p)
{
    __asm__ volatile("" ::"r"(p) : "memory");
}

int main(int argc, char **argv)
{
    long n = argc > 1 ? atol(argv[1]) : 10, sum = 0;

    for (long i = 0; i < n; i++) {
        counter = i;
        sum += counter;
        site(i % 2 ? (long *)&counter : null);
    }
    printf("%ld\n", sum);
    return 0;
}
