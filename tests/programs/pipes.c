/* Pipes: blocking, non-blocking, vectors, sizes, FIONREAD, SIGPIPE, end of file, a fifo. */
#include "check.h"

static volatile sig_atomic_t broken;

static void on_pipe(int signal_number)
{
    broken = signal_number;
}

int main(void)
{
    int ends[2], back[2], waiting;
    CHECK(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);
    char byte, text[64] = {0};
    CHECK_FAILS(read(ends[0], &byte, 1), EAGAIN);
    long filled = 0;
    static char block[4096];
    ssize_t count;
    while ((count = write(ends[1], block, sizeof block)) > 0)
        filled += count;
    CHECK(count == -1 && errno == EAGAIN);
    CHECK(ioctl(ends[0], FIONREAD, &waiting) == 0 && waiting == filled);
    CHECK(fcntl(ends[0], F_GETPIPE_SZ) == filled);
    while (read(ends[0], block, sizeof block) > 0)
        ;
    CHECK(fcntl(ends[0], F_SETPIPE_SZ, 4096) == 4096);
    struct iovec out[] = {{"one ", 4}, {"two ", 4}, {"three", 5}};
    CHECK(writev(ends[1], out, 3) == 13);
    struct iovec in[] = {{text, 2}, {text + 2, 0}, {text + 2, 40}};
    CHECK(readv(ends[0], in, 3) == 13 && strcmp(text, "one two three") == 0);
    CHECK(signal(SIGPIPE, on_pipe) != SIG_ERR);
    close(ends[0]);
    CHECK_FAILS(write(ends[1], "x", 1), EPIPE);
    CHECK(broken == SIGPIPE);
    close(ends[1]);

    /* A child fills the pipe faster than it is emptied: both block in turn. */
    CHECK(pipe(ends) == 0 && pipe(back) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        close(ends[0]);
        for (int i = 0; i < 200; i++) {
            memset(block, i, sizeof block);
            CHECK(write(ends[1], block, 3000) == 3000);
        }
        _exit(0);
    }
    close(ends[1]);
    long total = 0;
    unsigned sum = 0;
    while ((count = read(ends[0], block, sizeof block)) > 0) {
        for (ssize_t i = 0; i < count; i++)
            sum += (unsigned char)block[i] * (unsigned)(total + i);
        total += count;
    }
    CHECK(count == 0 && total == 600000);
    reap(child, 0);
    printf("sum %u\n", sum);

    CHECK(mkfifo("fifo", 0600) == 0);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        int fd = open("fifo", O_WRONLY); /* blocks until there is a reader */
        CHECK(fd >= 0 && write(fd, "through", 7) == 7);
        _exit(0);
    }
    int fd = open("fifo", O_RDONLY);
    CHECK(fd >= 0);
    CHECK(read(fd, text, 7) == 7 && memcmp(text, "through", 7) == 0);
    reap(child, 0);
    CHECK(read(fd, text, 1) == 0);
    CHECK(unlink("fifo") == 0);
    return success();
}
