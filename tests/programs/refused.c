/*
 * Calls a recorder may refuse: each works or says why not, and the program goes on; so do a
 * number that is no call and an ioctl nobody knows.
 */
#include "check.h"

static void try(const char *name, long number, long first, long second, long third)
{
    errno = 0;
    long result = syscall(number, first, second, third, 0L, 0L);
    CHECK(result >= 0 || errno == ENOSYS || errno == EPERM || errno == EACCES ||
          errno == EINVAL || errno == ENOENT || errno == ENODEV || errno == EFAULT ||
          errno == EOPNOTSUPP || errno == E2BIG || errno == EBADF);
    (void)name;
}

int main(void)
{
    static char zeros[256];
    try("io_uring_setup", 425, 8, (long)zeros, 0);
    try("userfaultfd", 323, O_CLOEXEC | 1, 0, 0);
    try("perf_event_open", 298, (long)zeros, 0, -1);
    try("bpf", 321, 0, (long)zeros, sizeof zeros);
    try("memfd_secret", 447, 0, 0, 0);
    try("pkey_alloc", 330, 0, 0, 0);
    try("kcmp", 312, getpid(), getpid(), 0);
    try("process_madvise", 440, -1, 0, 0);
    try("modify_ldt", 154, 0, (long)zeros, sizeof zeros);
    try("membarrier", 324, 0, 0, 0);
    CHECK_FAILS(syscall(1000), ENOSYS);
    CHECK_FAILS(syscall(0x7fffffff), ENOSYS);
    CHECK_FAILS(syscall(-1L), ENOSYS);
    int ends[2];
    CHECK(pipe(ends) == 0);
    CHECK_FAILS(ioctl(ends[0], 0xdeadbeef, zeros), ENOTTY);
    int fd = open("/dev/null", O_RDWR);
    CHECK(fd >= 0);
    CHECK_FAILS(ioctl(fd, 0xc0ffee00, zeros), ENOTTY);
    return success();
}
