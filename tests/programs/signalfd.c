/* signalfd: signals read as data, from itself, from a child, with values; several at once. */
#include "check.h"
#include <sys/signalfd.h>

int main(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGRTMIN);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    int fd = signalfd(-1, &set, SFD_CLOEXEC);
    CHECK(fd >= 0);
    for (int i = 0; i < 3; i++)
        CHECK(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 100 + i}) == 0);
    CHECK(raise(SIGUSR1) == 0);
    struct signalfd_siginfo infos[8];
    CHECK(read(fd, infos, sizeof infos) == 4 * sizeof *infos);
    CHECK(infos[0].ssi_signo == SIGUSR1);
    for (int i = 0; i < 3; i++)
        CHECK(infos[i + 1].ssi_signo == (uint32_t)SIGRTMIN && infos[i + 1].ssi_int == 100 + i &&
              infos[i + 1].ssi_pid == (uint32_t)getpid());
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(sigqueue(getppid(), SIGRTMIN, (union sigval){.sival_int = 7}) == 0);
        _exit(11);
    }
    CHECK(read(fd, infos, sizeof *infos) == sizeof *infos);
    if (infos[0].ssi_signo == SIGCHLD)
        CHECK(read(fd, infos + 1, sizeof *infos) == sizeof *infos);
    else {
        infos[1] = infos[0];
        CHECK(read(fd, infos, sizeof *infos) == sizeof *infos);
    }
    CHECK(infos[0].ssi_signo == SIGCHLD && infos[0].ssi_status == 11);
    CHECK(infos[0].ssi_pid == (uint32_t)child && infos[1].ssi_int == 7);
    reap(child, 11);
    printf("child %d utime %lu\n", child, (unsigned long)infos[0].ssi_utime);
    return success();
}
