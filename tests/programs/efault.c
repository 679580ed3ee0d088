/* Bad pointers in calls: EFAULT and nothing else; a string that ends at the end of its page. */
#include "check.h"

int main(void)
{
    char *map = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED && munmap(map + 4096, 4096) == 0);
    char *end = map + 4096 - sizeof "/dev/null";
    strcpy(end, "/dev/null");
    int fd = open(end, O_RDWR); /* the byte after it is not mapped */
    CHECK(fd >= 0);
    CHECK_FAILS(open(map + 4096, O_RDWR), EFAULT);
    memset(map + 4000, 'x', 96);
    CHECK_FAILS(syscall(SYS_open, map + 4000, O_RDWR), EFAULT);
    int ends[2];
    CHECK(pipe(ends) == 0 && write(ends[1], "0123456789", 10) == 10);
    CHECK_FAILS(syscall(SYS_read, ends[0], 8L, 10L), EFAULT);
    CHECK_FAILS(syscall(SYS_pipe, 8L), EFAULT);
    CHECK_FAILS(syscall(SYS_stat, end, 8L), EFAULT);
    CHECK_FAILS(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, 8L), EFAULT);
    CHECK_FAILS(syscall(SYS_rt_sigaction, SIGUSR1, 8L, 0L, 8L), EFAULT);
    CHECK_FAILS(syscall(SYS_rt_sigprocmask, SIG_BLOCK, 8L, 0L, 8L), EFAULT);
    CHECK_FAILS(syscall(SYS_nanosleep, 8L, 0L), EFAULT);
    CHECK_FAILS(syscall(SYS_poll, 8L, 1L, 0L), EFAULT);
    CHECK_FAILS(syscall(SYS_uname, 8L), EFAULT);
    CHECK_FAILS(syscall(SYS_getcwd, 8L, 4096L), EFAULT);
    CHECK_FAILS(syscall(SYS_writev, ends[1], 8L, 1L), EFAULT);
    CHECK_FAILS(syscall(SYS_sendmsg, 0, 8L, 0L), ENOTSOCK);
    CHECK_FAILS(syscall(SYS_wait4, 8L, 0L, 0L, 0L), ECHILD);
    struct stat *facts = (struct stat *)(map + 4096 - 20); /* half in, half out */
    CHECK_FAILS(syscall(SYS_stat, end, facts), EFAULT);
    CHECK_FAILS(syscall(SYS_futex, 8L, 0L, 0L, 0L, 0L, 0L), EFAULT);
    CHECK_FAILS(syscall(SYS_execve, end, 8L, 0L), EFAULT);
    return success();
}
