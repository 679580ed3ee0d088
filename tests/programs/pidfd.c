/* pidfd_open, pidfd_send_signal, and waiting on a pidfd with poll and waitid. */
#include "check.h"
#include <linux/wait.h>

int main(void)
{
    int go[2];
    CHECK(pipe(go) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        for (;;)
            pause();
    }
    int fd = (int)syscall(SYS_pidfd_open, child, 0);
    CHECK(fd >= 0);
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    CHECK(poll(&ready, 1, 0) == 0);
    CHECK(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) == 0);
    CHECK(syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0) == 0);
    CHECK(poll(&ready, 1, -1) == 1);
    siginfo_t info = {0};
    CHECK(waitid(P_PIDFD, (id_t)fd, &info, WEXITED) == 0);
    CHECK(info.si_code == CLD_KILLED && info.si_status == SIGTERM && info.si_pid == child);
    CHECK_FAILS(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0), ESRCH);
    printf("child %d uid %d\n", info.si_pid, info.si_uid);
    return success();
}
