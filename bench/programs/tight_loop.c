/* A loop of three instructions (add, compare, jump) under SIGALRM: ITERATIONS PERIOD [nop], in
 * microseconds. With `nop` it has more instructions, ones that the kernel emulates at a uprobe. */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

static volatile uint64_t landings, sum;

static void on_tick(int signo)
{
    (void)signo;
    landings++;
}

int main(int argc, char **argv)
{
    uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000000;
    long us = argc > 2 ? atol(argv[2]) : 1000;
    struct itimerval period = {{0, us}, {0, us}};

    signal(SIGALRM, on_tick);
    setitimer(ITIMER_REAL, &period, NULL);
    if (argc > 3)
        for (uint64_t i = 0; i < n; i++)
            __asm__ volatile("nop\n nop\n nop\n nop\n nop\n nop\n nop\n nop" : : "r"(i));
    else
        for (uint64_t i = 0; i < n; i++)
            __asm__ volatile("" : : "r"(i));
    sum = n;
    printf("%d\n", landings > 0);
    return 0;
}
