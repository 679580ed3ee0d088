/* Handlers that loop themselves, interrupted by other handlers and (SA_NODEFER) by themselves. */
#include "landing.h"

static volatile uint64_t work, handler_work;
static volatile unsigned depth, deepest;

static void busy(int signo, siginfo_t *info, void *context)
{
    on_landing(signo, info, context);
    depth++;
    if (depth > deepest)
        deepest = depth;
    mix(depth);
    if (depth < 6)
        for (volatile unsigned i = 0; i < 100000u * (unsigned)(signo % 5 + 1); i++)
            handler_work++;
    mix(handler_work);
    depth--;
}

int main(int argc, char **argv)
{
    wanted(argc, argv);
    handle(SIGALRM, busy, SA_NODEFER);
    handle(SIGVTALRM, busy, 0);
    handle(SIGPROF, busy, SA_NODEFER);
    every_us(ITIMER_REAL, 1700);
    every_us(ITIMER_VIRTUAL, 2300);
    every_us(ITIMER_PROF, 3100);
    while (!enough())
        work++;
    every_us(ITIMER_REAL, 0);
    every_us(ITIMER_VIRTUAL, 0);
    every_us(ITIMER_PROF, 0);
    mix(work);
    mix(deepest);
    say_landings();
    return 0;
}
