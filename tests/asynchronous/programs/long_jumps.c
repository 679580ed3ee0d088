/* Handlers that leave by siglongjmp, and longjmp in between. */
#include "landing.h"
#include <setjmp.h>

static sigjmp_buf out;
static jmp_buf inner;
static volatile uint64_t spins, jumps;

static void on_alarm(int signo, siginfo_t *info, void *context)
{
    on_landing(signo, info, context);
    if (landings % 2)
        siglongjmp(out, (int)landings);
}

static void __attribute__((noinline)) jump(int depth)
{
    if (depth)
        jump(depth - 1);
    else
        longjmp(inner, 1);
}

int main(int argc, char **argv)
{
    land(argc, argv, on_alarm);
    sigsetjmp(out, 1);
    mix(spins);
    while (!enough()) {
        spins++;
        if (!setjmp(inner))
            jump((int)(spins % 7));
        jumps++;
    }
    mix(jumps);
    say_landings();
    return 0;
}
