/* Signals to itself and to a child, with values, in their order; sigwaitinfo and handlers. */
#include "check.h"

static int values[64];
static volatile int count;

static void on_signal(int signal_number, siginfo_t *info, void *context)
{
    (void)context;
    CHECK(info->si_code == SI_QUEUE && info->si_pid != 0);
    values[count++] = (signal_number - SIGRTMIN) * 100 + info->si_value.sival_int;
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    sigset_t set, old;
    sigemptyset(&set);
    for (int i = 0; i < 3; i++) {
        CHECK(sigaction(SIGRTMIN + i, &action, NULL) == 0);
        sigaddset(&set, SIGRTMIN + i);
    }
    /* Delivered at once, one by one. */
    for (int i = 0; i < 5; i++) {
        CHECK(sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = i}) == 0);
        CHECK(count == i + 1 && values[i] == 100 + i);
    }
    /* Blocked, queued, then all at once: the handler of the highest is set up last, runs first... */
    count = 0;
    CHECK(sigprocmask(SIG_BLOCK, &set, &old) == 0);
    for (int i = 0; i < 9; i++)
        CHECK(sigqueue(getpid(), SIGRTMIN + i % 3, (union sigval){.sival_int = i}) == 0);
    CHECK(count == 0);
    CHECK(sigprocmask(SIG_SETMASK, &old, NULL) == 0);
    CHECK(count == 9);
    for (int i = 0; i < count; i++)
        printf("%d ", values[i]);
    printf("\n");
    /* ... unless they are waited for: the lowest first, in order. */
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    for (int i = 0; i < 9; i++)
        CHECK(sigqueue(getpid(), SIGRTMIN + i % 3, (union sigval){.sival_int = i}) == 0);
    for (int i = 0; i < 9; i++) {
        siginfo_t info;
        CHECK(sigwaitinfo(&set, &info) == SIGRTMIN + i / 3);
        CHECK(info.si_value.sival_int == i / 3 + i % 3 * 3 && info.si_pid == getpid());
    }
    struct timespec brief = {.tv_nsec = 1000000};
    CHECK_FAILS(sigtimedwait(&set, NULL, &brief), EAGAIN);
    /* From a child, while this process waits in sigwaitinfo. */
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        for (int i = 0; i < 5; i++)
            CHECK(sigqueue(getppid(), SIGRTMIN, (union sigval){.sival_int = i}) == 0);
        _exit(0);
    }
    for (int i = 0; i < 5; i++) {
        siginfo_t info;
        CHECK(sigwaitinfo(&set, &info) == SIGRTMIN);
        CHECK(info.si_pid == child && info.si_value.sival_int == i);
    }
    reap(child, 0);
    CHECK_FAILS(sigqueue(getpid(), 1000, (union sigval){0}), EINVAL);
    CHECK_FAILS(kill(0x3fffffff, SIGTERM), ESRCH);
    return success();
}
