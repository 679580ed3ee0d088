/* POSIX timers: signals with values taken by sigwaitinfo and in a handler, overruns, getitimer. */
#include "check.h"

static volatile sig_atomic_t fired;

static void on_alarm(int signal_number, siginfo_t *info, void *context)
{
    (void)context;
    CHECK(signal_number == SIGALRM && info->si_code == SI_TIMER && info->si_value.sival_int == 42);
    fired++;
}

int main(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN,
                             .sigev_value.sival_int = 7};
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    struct itimerspec spec = {.it_value.tv_nsec = 1000000, .it_interval.tv_nsec = 1000000};
    CHECK(timer_settime(timer, 0, &spec, NULL) == 0);
    for (int i = 0; i < 4; i++) {
        siginfo_t info;
        CHECK(sigwaitinfo(&set, &info) == SIGRTMIN);
        CHECK(info.si_code == SI_TIMER && info.si_value.sival_int == 7);
        printf("overruns %d %d\n", info.si_overrun >= 0, timer_getoverrun(timer) >= 0);
    }
    CHECK(timer_gettime(timer, &spec) == 0 && spec.it_interval.tv_nsec == 1000000);
    printf("left %ld\n", spec.it_value.tv_nsec);
    CHECK(timer_delete(timer) == 0);
    CHECK_FAILS(timer_delete(timer), EINVAL);

    struct sigaction action = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    sigset_t blocked, old;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGALRM);
    CHECK(sigprocmask(SIG_BLOCK, &blocked, &old) == 0);
    event = (struct sigevent){.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM,
                              .sigev_value.sival_int = 42};
    CHECK(timer_create(CLOCK_REALTIME, &event, &timer) == 0);
    spec = (struct itimerspec){.it_value.tv_nsec = 1000000};
    CHECK(timer_settime(timer, 0, &spec, NULL) == 0);
    while (!fired)
        CHECK_FAILS(sigsuspend(&old), EINTR);
    struct itimerval interval = {.it_value.tv_sec = 900}, found;
    CHECK(setitimer(ITIMER_VIRTUAL, &interval, NULL) == 0);
    CHECK(getitimer(ITIMER_VIRTUAL, &found) == 0 && found.it_value.tv_sec >= 890);
    return success();
}
