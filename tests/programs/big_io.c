/* Big and unaligned reads and writes: 1 MiB and 64 MiB, many vectors, into fresh memory. */
#include "check.h"

#define BIG (64ul << 20)

static unsigned digest(const unsigned char *bytes, size_t size)
{
    uint64_t sum = 1469598103934665603u, word;
    for (size_t i = 0; i + 8 <= size; i += 8) {
        memcpy(&word, bytes + i, 8);
        sum = (sum ^ word) * 1099511628211u;
    }
    return (unsigned)(sum >> 32);
}

int main(void)
{
    unsigned char *data = malloc(BIG + 4096), *copy = malloc(BIG + 4096);
    CHECK(data && copy);
    uint64_t state = 88172645463325252u;
    for (size_t i = 0; i + 8 <= BIG + 4096; i += 8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        memcpy(data + i, &state, 8);
    }
    int fd = open("big", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0);
    CHECK(write(fd, data + 3, (1 << 20) + 1) == (1 << 20) + 1);
    CHECK(pread(fd, copy + 5, (1 << 20) + 1, 0) == (1 << 20) + 1);
    CHECK(memcmp(copy + 5, data + 3, (1 << 20) + 1) == 0);
    CHECK(pwrite(fd, data + 1, BIG + 7, 0) == BIG + 7);
    CHECK(pread(fd, copy + 2, BIG + 7, 0) == BIG + 7);
    CHECK(memcmp(copy + 2, data + 1, BIG + 7) == 0);

    struct iovec vectors[1024];
    size_t at = 0;
    for (int i = 0; i < 1024; i++) {
        vectors[i].iov_base = copy + at + 1;
        vectors[i].iov_len = (size_t)(i * 37 % 2000);
        at += 2048;
    }
    CHECK(lseek(fd, 11, SEEK_SET) == 11);
    ssize_t count = readv(fd, vectors, 1024);
    size_t done = 0;
    for (int i = 0; i < 1024; i++) {
        CHECK(memcmp(vectors[i].iov_base, data + 12 + done, vectors[i].iov_len) == 0);
        done += vectors[i].iov_len;
    }
    CHECK((size_t)count == done);

    int ends[2];
    CHECK(pipe(ends) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        close(ends[0]);
        CHECK(write(ends[1], data, 1 << 20) == 1 << 20); /* blocks on a full pipe many times */
        _exit(0);
    }
    close(ends[1]);
    char *fresh = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    done = 0;
    while ((count = read(ends[0], fresh + done, (1 << 20) - done)) > 0)
        done += (size_t)count;
    CHECK(done == 1 << 20 && memcmp(fresh, data, done) == 0);
    reap(child, 0);
    printf("%08x\n", digest(copy, BIG));
    CHECK(unlink("big") == 0);
    return success();
}
