/* What counts as standard output: written by many fds, reopened, closed, put back, by a child. */
#include "check.h"

int main(void)
{
    CHECK(write(1, "plain\n", 6) == 6);
    int copy = dup(1), high = fcntl(1, F_DUPFD, 500);
    CHECK(copy >= 0 && high == 500);
    CHECK(write(copy, "copy\n", 5) == 5 && write(high, "high\n", 5) == 5);
    struct iovec vector[] = {{"vec", 3}, {"tor\n", 4}};
    CHECK(writev(1, vector, 2) == 7);
    CHECK(dprintf(2, "to stderr\n") == 10);
    int file = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600), saved = dup(1);
    CHECK(file >= 0 && saved >= 0 && dup2(file, 1) == 1);
    CHECK(write(1, "into the file\n", 14) == 14); /* not to be seen */
    CHECK(dup2(saved, 1) == 1 && write(1, "back again\n", 11) == 11);
    close(1);
    CHECK_FAILS(write(1, "x", 1), EBADF);
    int other = open("/dev/null", O_WRONLY); /* becomes fd 1 */
    CHECK(other == 1 && write(1, "nothing\n", 8) == 8);
    CHECK(dup2(saved, 1) == 1 && close(saved) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(write(1, "child\n", 6) == 6);
        CHECK(write(2, "child's error\n", 14) == 14);
        _exit(0);
    }
    reap(child, 0);
    return success();
}
