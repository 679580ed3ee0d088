/* Handlers on an alternate stack, over deep recursion. */
#include "landing.h"

static char stack[65536] __attribute__((aligned(16)));
static volatile uint64_t rounds;

static uint64_t __attribute__((noinline)) down(unsigned depth)
{
    volatile char room[200];

    room[depth & 127] = (char)depth;
    return depth ? down(depth - 1) + (uint64_t)room[depth & 127] : 0;
}

int main(int argc, char **argv)
{
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};

    sigaltstack(&alternate, NULL);
    wanted(argc, argv);
    handle(SIGALRM, on_landing, SA_ONSTACK);
    every_us(ITIMER_REAL, 1000);
    while (!enough()) {
        mix(down(500));
        rounds++;
    }
    mix(rounds);
    say_landings();
    return 0;
}
