/* POSIX timers with values and overruns, and alarms from a thread's CPU clock. */
#include "landing.h"
#include <time.h>

static volatile uint64_t work;
static timer_t timers[3];

static void on_timer(int signo, siginfo_t *info, void *context)
{
    on_landing(signo, info, context);
    mix((uint64_t)info->si_value.sival_int);
    mix((uint64_t)info->si_overrun);
    mix((uint64_t)timer_getoverrun(timers[info->si_value.sival_int]));
    mix(work);
}

int main(int argc, char **argv)
{
    static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID,
                                       CLOCK_THREAD_CPUTIME_ID};

    wanted(argc, argv);
    for (int i = 0; i < 3; i++) {
        struct itimerspec period = {{0, 1100000 + 700000 * i}, {0, 1000000}};
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + i,
                                 .sigev_value.sival_int = i};

        handle(SIGRTMIN + i, on_timer, 0);
        if (timer_create(clocks[i], &event, &timers[i]) ||
            timer_settime(timers[i], 0, &period, NULL))
            return 1;
    }
    while (!enough())
        work++;
    for (int i = 0; i < 3; i++)
        timer_delete(timers[i]);
    mix(work);
    say_landings();
    return 0;
}
