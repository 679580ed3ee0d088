/* Output that never was in the program's memory: sendfile, splice, tee, vmsplice, copy to fd 1. */
#include "check.h"
#include <sys/sendfile.h>

int main(void)
{
    int file = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600), ends[2], other[2];
    CHECK(file >= 0 && write(file, "one\ntwo\nthree\nfour\n", 19) == 19);
    off_t at = 4;
    ssize_t count = sendfile(1, file, &at, 4);
    CHECK((count == 4 && at == 8) || (count == -1 && errno == EINVAL)); /* "use read and write" */
    CHECK(pipe(ends) == 0 && pipe(other) == 0);
    CHECK(write(ends[1], "spliced\nteed\n", 13) == 13);
    count = splice(ends[0], NULL, 1, NULL, 8, 0);
    CHECK(count == 8 || (count == -1 && errno == EINVAL));
    if (count == 8) {
        count = tee(ends[0], 1, 5, 0); /* a pipe only */
        CHECK(count == 5 || (count == -1 && errno == EINVAL));
    }
    loff_t from = 8;
    count = splice(file, &from, 1, NULL, 6, 0);
    CHECK(count == 6 || (count == -1 && errno == EINVAL));
    struct iovec vector = {"vmspliced\n", 10};
    count = vmsplice(1, &vector, 1, 0);
    CHECK(count == 10 || (count == -1 && errno == EBADF));
    char *map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0);
    CHECK(map != MAP_FAILED && write(1, map + 14, 5) == 5);
    int again = open("/dev/stdout", O_WRONLY | O_APPEND);
    if (again >= 0) {
        CHECK(write(again, "opened again\n", 13) == 13);
        close(again);
    }
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    count = sendmsg(1, &message, 0);
    CHECK(count == 10 || (count == -1 && errno == ENOTSOCK));
    return success();
}
