/* readv, writev and their kin: pread, preadv2 with flags, empty vectors, bad ones. */
#include "check.h"

int main(void)
{
    int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0);
    char a[4], b[8], c[16];
    struct iovec out[] = {{"alpha ", 6}, {NULL, 0}, {"beta ", 5}, {"gamma", 5}};
    CHECK(writev(fd, out, 4) == 16);
    CHECK(pwritev(fd, out, 2, 100) == 6);
    struct iovec in[] = {{a, sizeof a}, {b, sizeof b}, {c, sizeof c}};
    memset(c, '-', sizeof c);
    CHECK(lseek(fd, 0, SEEK_SET) == 0);
    CHECK(readv(fd, in, 2) == 12 && memcmp(a, "alph", 4) == 0 && memcmp(b, "a beta g", 8) == 0);
    CHECK(readv(fd, in, 3) == 28 && memcmp(a, "amma", 4) == 0);
    CHECK(preadv(fd, in, 3, 100) == 6 && memcmp(a, "alph", 4) == 0 && memcmp(b, "a ", 2) == 0);
    ssize_t count = preadv2(fd, in, 3, 0, RWF_NOWAIT);
    CHECK(count == 28 || (count == -1 && (errno == EAGAIN || errno == EOPNOTSUPP)));
    CHECK(pwritev2(fd, out, 1, -1, RWF_APPEND) == 6 && lseek(fd, 0, SEEK_END) == 112);
    CHECK(readv(fd, in, 0) == 0);
    CHECK_FAILS(syscall(SYS_readv, fd, in, -1L), EINVAL);
    CHECK_FAILS(syscall(SYS_readv, fd, 8L, 1), EFAULT);
    struct iovec bad[] = {{a, sizeof a}, {(void *)8, 10}};
    count = preadv(fd, bad, 2, 0); /* the first part may have come */
    CHECK(count == 4 || (count == -1 && errno == EFAULT));
    CHECK(syscall(SYS_pread64, fd, b, sizeof b, 6L) == 8 && memcmp(b, "beta gam", 8) == 0);
    CHECK_FAILS(pread(fd, b, 1, -5), EINVAL);
    CHECK(unlink("file") == 0);
    return success();
}
