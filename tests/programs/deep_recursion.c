/*
 * The stack grows by page faults, 6 MiB down, in the main thread and in a thread; then again
 * from a system call that writes below it.
 * @link pthread
 */
#include "check.h"
#include <pthread.h>

static unsigned deep(unsigned level, unsigned *sum)
{
    volatile unsigned char frame[1024];
    for (size_t i = 0; i < sizeof frame; i += 64)
        frame[i] = (unsigned char)level;
    unsigned below = level ? deep(level - 1, sum) : 0;
    for (size_t i = 0; i < sizeof frame; i += 64)
        *sum += frame[i];
    return below + 1;
}

static void *in_thread(void *sum)
{
    CHECK(deep(4000, sum) == 4001);
    return NULL;
}

static void filled_by_kernel(void)
{
    /* An array not touched yet: the first to write below the stack is the kernel. */
    volatile char block[1 << 20];
    int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK(read(fd, (char *)block, sizeof block) == sizeof block);
    for (size_t i = 0; i < sizeof block; i += 4096)
        CHECK(block[i] == 0);
    close(fd);
}

int main(void)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        filled_by_kernel();
        _exit(0);
    }
    reap(child, 0);
    unsigned sum = 0, again = 0;
    CHECK(deep(5500, &sum) == 5501);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, in_thread, &again) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    printf("%u %u\n", sum, again);
    return success();
}
