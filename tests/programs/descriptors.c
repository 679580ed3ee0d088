/* File descriptors: dup, dup2, dup3, flags, limits, close_range, owners, leases, openat2. */
#include "check.h"
#include <linux/openat2.h>

int main(void)
{
    int fd = open("file", O_RDWR | O_CREAT | O_APPEND, 0600);
    CHECK(fd >= 0);
    int copy = dup(fd), third = fcntl(fd, F_DUPFD_CLOEXEC, 200);
    CHECK(copy > fd && third == 200 && fcntl(third, F_GETFD) == FD_CLOEXEC);
    CHECK(dup2(fd, 210) == 210 && dup3(fd, 211, O_CLOEXEC) == 211);
    CHECK_FAILS(dup3(fd, fd, 0), EINVAL);
    CHECK((fcntl(fd, F_GETFL) & (O_APPEND | O_ACCMODE)) == (O_APPEND | O_RDWR));
    CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0 && (fcntl(copy, F_GETFL) & O_NONBLOCK));
    CHECK(ioctl(fd, FIOCLEX) == 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
    CHECK(write(fd, "shared offset", 13) == 13 && lseek(210, 0, SEEK_CUR) == 13);
    CHECK(fcntl(fd, F_SETOWN, getpid()) == 0 && fcntl(fd, F_GETOWN) == getpid());
    struct f_owner_ex owner = {F_OWNER_TID, getpid()}, found;
    CHECK(fcntl(fd, F_SETOWN_EX, &owner) == 0 && fcntl(fd, F_GETOWN_EX, &found) == 0);
    CHECK(found.type == F_OWNER_TID && found.pid == getpid());
    CHECK(fcntl(fd, F_SETSIG, SIGUSR1) == 0 && fcntl(fd, F_GETSIG) == SIGUSR1);
#ifdef SYS_close_range
    int result = (int)syscall(SYS_close_range, 200, 300, 0);
    if (result == 0)
        CHECK_FAILS(fcntl(210, F_GETFD), EBADF);
    else
        CHECK(errno == ENOSYS);
#endif
#ifdef SYS_openat2
    struct open_how how = {.flags = O_RDONLY, .resolve = RESOLVE_BENEATH};
    int opened = (int)syscall(SYS_openat2, AT_FDCWD, "file", &how, sizeof how);
    CHECK(opened >= 0 || errno == ENOSYS);
    if (opened >= 0)
        CHECK_FAILS(syscall(SYS_openat2, AT_FDCWD, "../x", &how, sizeof how), EXDEV);
#endif
    CHECK_FAILS(fcntl(fd, 9999), EINVAL);
    CHECK_FAILS(dup(500), EBADF);
    char path[64], text[PATH_MAX];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    CHECK(readlink(path, text, sizeof text) > 0);
    CHECK(unlink("file") == 0);
    return success();
}
