/* sendfile, splice, tee, vmsplice and copy_file_range, with offsets and without. */
#include "check.h"
#include <sys/sendfile.h>

int main(void)
{
    int from = open("from", O_RDWR | O_CREAT | O_TRUNC, 0600);
    int to = open("to", O_RDWR | O_CREAT | O_TRUNC, 0600), pair[2], first[2], second[2];
    CHECK(from >= 0 && to >= 0);
    static char block[20000], text[20000];
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = (char)(i * 7 + i / 256);
    CHECK(write(from, block, sizeof block) == sizeof block);
    off_t offset = 100;
    CHECK(sendfile(to, from, &offset, 5000) == 5000 && offset == 5100);
    CHECK(pread(to, text, sizeof text, 0) == 5000 && memcmp(text, block + 100, 5000) == 0);
    CHECK(lseek(from, 1000, SEEK_SET) == 1000);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK(sendfile(pair[0], from, NULL, 3000) == 3000 && lseek(from, 0, SEEK_CUR) == 4000);
    CHECK(recv(pair[1], text, 3000, MSG_WAITALL) == 3000 && memcmp(text, block + 1000, 3000) == 0);

    CHECK(pipe(first) == 0 && pipe(second) == 0);
    loff_t at = 50;
    CHECK(splice(from, &at, first[1], NULL, 4096, 0) == 4096 && at == 4146);
    CHECK(tee(first[0], second[1], 4096, 0) == 4096);
    CHECK(read(second[0], text, 4096) == 4096 && memcmp(text, block + 50, 4096) == 0);
    at = 9000;
    CHECK(splice(first[0], NULL, to, &at, 4096, SPLICE_F_MOVE) == 4096);
    CHECK(pread(to, text, 4096, 9000) == 4096 && memcmp(text, block + 50, 4096) == 0);
    CHECK_FAILS(splice(first[0], NULL, to, &at, 10, SPLICE_F_NONBLOCK), EAGAIN);
    struct iovec vector[] = {{block, 1000}, {block + 5000, 1000}};
    CHECK(vmsplice(first[1], vector, 2, 0) == 2000);
    CHECK(read(first[0], text, 2000) == 2000 && memcmp(text + 1000, block + 5000, 1000) == 0);
    CHECK(write(first[1], block + 70, 500) == 500);
    vector[0] = (struct iovec){text, 500};
    CHECK(vmsplice(first[0], vector, 1, 0) == 500 && memcmp(text, block + 70, 500) == 0);

    loff_t in = 200, out = 30;
    ssize_t count = copy_file_range(from, &in, to, &out, 6000, 0);
    if (count >= 0) {
        CHECK(count == 6000 && in == 6200 && out == 6030);
        CHECK(pread(to, text, 6000, 30) == 6000 && memcmp(text, block + 200, 6000) == 0);
    }
    /* A child empties the pipe that splice fills: it blocks in between. */
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        long total = 0;
        close(first[1]);
        while ((count = read(first[0], text, 3000)) > 0)
            total += count;
        _exit(total == 10 * (long)sizeof block ? 0 : 1);
    }
    for (int i = 0; i < 10; i++) {
        at = 0;
        size_t left = sizeof block;
        while (left > 0) {
            count = splice(from, &at, first[1], NULL, left, 0);
            CHECK(count > 0);
            left -= (size_t)count;
        }
    }
    close(first[1]);
    reap(child, 0);
    CHECK(unlink("from") == 0 && unlink("to") == 0);
    return success();
}
