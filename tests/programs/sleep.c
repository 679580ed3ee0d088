/* Sleeping: nanosleep, clock_nanosleep relative and absolute, interrupted with the time left. */
#include "check.h"

static volatile sig_atomic_t fired;

static void on_alarm(int signal_number)
{
    fired = signal_number;
}

int main(void)
{
    struct timespec brief = {.tv_nsec = 1000000}, left = {.tv_sec = -1}, until;
    CHECK(nanosleep(&brief, &left) == 0 && left.tv_sec == -1);
    CHECK(usleep(500) == 0);
    CHECK(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
    until.tv_nsec += 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    CHECK(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == 0);
    CHECK(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == 0);
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    struct itimerval soon = {.it_value.tv_usec = 3000};
    CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
    struct timespec longer = {.tv_sec = 100};
    CHECK_FAILS(nanosleep(&longer, &left), EINTR);
    CHECK(fired == SIGALRM && left.tv_sec >= 90 && left.tv_sec < 100);
    printf("left %ld.%09ld\n", left.tv_sec, left.tv_nsec);
    CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
    CHECK(clock_nanosleep(CLOCK_REALTIME, 0, &longer, &left) == EINTR);
    CHECK_FAILS(nanosleep(&(struct timespec){.tv_nsec = -1}, NULL), EINVAL);
    /* A time-out so short that it is over at once, many times. */
    for (int i = 0; i < 50; i++)
        CHECK(nanosleep(&(struct timespec){.tv_nsec = 1}, NULL) == 0);
    return success();
}
