/* kill in all its forms: a process, a group, itself, tkill, tgkill, signal 0; ignored signals. */
#include "check.h"

static volatile int caught;

static void on_signal(int signal_number, siginfo_t *info, void *context)
{
    (void)signal_number;
    (void)context;
    CHECK(info->si_code == SI_USER || info->si_code == SI_TKILL);
    caught++;
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(kill(getpid(), SIGUSR1) == 0 && caught == 1);
    CHECK(raise(SIGUSR1) == 0 && caught == 2);
    CHECK(syscall(SYS_tkill, getpid(), SIGUSR1) == 0 && caught == 3);
    CHECK(syscall(SYS_tgkill, getpid(), getpid(), SIGUSR1) == 0 && caught == 4);
    CHECK_FAILS(syscall(SYS_tgkill, getpid(), getpid() + 100000, SIGUSR1), ESRCH);
    CHECK(kill(getpid(), 0) == 0);
    CHECK(signal(SIGUSR2, SIG_IGN) != SIG_ERR && raise(SIGUSR2) == 0);
    CHECK(raise(SIGCHLD) == 0 && raise(SIGURG) == 0 && raise(SIGWINCH) == 0);

    /* A group: the leader and two more, all waiting for the signal. */
    int ready[2];
    CHECK(pipe(ready) == 0);
    pid_t leader = 0, children[3];
    for (int i = 0; i < 3; i++) {
        children[i] = fork();
        CHECK(children[i] >= 0);
        if (children[i] == 0) {
            CHECK(setpgid(0, leader) == 0);
            sigset_t set, old;
            sigemptyset(&set);
            sigaddset(&set, SIGUSR1);
            CHECK(sigprocmask(SIG_BLOCK, &set, &old) == 0);
            caught = 0;
            tell(ready[1]);
            CHECK_FAILS(sigsuspend(&old), EINTR);
            CHECK(caught == 1);
            _exit(i);
        }
        if (i == 0)
            leader = children[0];
        await(ready[0]);
    }
    CHECK(kill(-leader, SIGUSR1) == 0);
    for (int i = 0; i < 3; i++)
        reap(children[i], i);
    CHECK_FAILS(kill(-leader, 0), ESRCH);
    printf("group %d\n", leader);
    return success();
}
