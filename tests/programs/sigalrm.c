/* SIGALRM and an interval timer while the program is in system calls: read, pause, sigsuspend. */
#include "check.h"

static volatile int fired;

static void on_alarm(int signal_number)
{
    CHECK(signal_number == SIGALRM);
    fired++;
    int saved = errno;
    CHECK(write(1, ".", 1) == 1);
    errno = saved;
}

int main(void)
{
    int silent[2];
    char byte;
    CHECK(pipe(silent) == 0);
    struct sigaction action = {.sa_handler = on_alarm};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    CHECK(sigprocmask(SIG_BLOCK, &set, &old) == 0);
    struct itimerval often = {.it_value.tv_usec = 2000, .it_interval.tv_usec = 2000}, none = {0};
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    for (int i = 0; i < 10; i++)
        CHECK_FAILS(sigsuspend(&old), EINTR);
    CHECK(fired == 10);
    CHECK_FAILS(ppoll(NULL, 0, NULL, &old), EINTR);
    CHECK(setitimer(ITIMER_REAL, &none, NULL) == 0);
    /* One left over may be pending: taken now, so that each below is its own. */
    CHECK(sigprocmask(SIG_SETMASK, &old, NULL) == 0);
    fired = 0;
    CHECK(alarm(1) == 0);
    CHECK_FAILS(read(silent[0], &byte, 1), EINTR);
    CHECK(fired == 1 && alarm(0) == 0);
    CHECK(write(1, "\n", 1) == 1);
    return success();
}
