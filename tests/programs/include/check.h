/*
 * What every test program shares: the headers, CHECK, and the final line.
 *
 * A program checks one family of behaviour against what the manual pages
 * promise and prints EXIT-SUCCESS at its end.  It also prints what it was told
 * by the kernel (process ids, times, random bytes): a replay has to print the
 * very same, so every printed value is one more thing verified.
 *
 * Laws for a program: it passes without relive too, on any number of cores; it
 * never waits by sleeping, nor by spinning without a system call.
 */
#ifndef CHECK_H
#define CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition)) {                                                    \
            int check_errno = errno;                                           \
            fprintf(stderr, "%s:%d: not true: %s (errno %d, %s)\n", __FILE__,  \
                    __LINE__, #condition, check_errno, strerror(check_errno)); \
            fflush(NULL);                                                      \
            _exit(1);                                                          \
        }                                                                      \
    } while (0)

/* The call fails with exactly this error. */
#define CHECK_FAILS(call, error)                                               \
    do {                                                                       \
        errno = 0;                                                             \
        CHECK((long)(call) == -1);                                             \
        CHECK(errno == (error));                                               \
    } while (0)

/* The test is about something this system lacks: say so; the harness skips. */
#define SKIP(...)                                                              \
    do {                                                                       \
        printf("SKIP: " __VA_ARGS__);                                          \
        printf("\n");                                                          \
        fflush(stdout);                                                        \
        _exit(77);                                                             \
    } while (0)

static inline int success(void)
{
    puts("EXIT-SUCCESS");
    return fflush(stdout) == 0 ? 0 : 1;
}

/* Wait for this child; it must exit with this status. */
__attribute__((unused)) static void reap(pid_t child, int status)
{
    int wait_status;
    pid_t found;
    while ((found = waitpid(child, &wait_status, 0)) == -1 && errno == EINTR)
        ;
    CHECK(found == child);
    CHECK(WIFEXITED(wait_status));
    CHECK(WEXITSTATUS(wait_status) == status);
}

/* Wait for this child; it must have been killed by this signal. */
__attribute__((unused)) static void reap_killed(pid_t child, int signal_number)
{
    int wait_status;
    pid_t found;
    while ((found = waitpid(child, &wait_status, 0)) == -1 && errno == EINTR)
        ;
    CHECK(found == child);
    CHECK(WIFSIGNALED(wait_status));
    CHECK(WTERMSIG(wait_status) == signal_number);
}

/* One byte says "go on" through a pipe: the only way a program here waits. */
__attribute__((unused)) static void tell(int fd)
{
    CHECK(write(fd, "!", 1) == 1);
}

__attribute__((unused)) static void await(int fd)
{
    char byte;
    ssize_t count;
    while ((count = read(fd, &byte, 1)) == -1 && errno == EINTR)
        ;
    CHECK(count == 1 && byte == '!');
}

/*
 * Wait until a thread or process sleeps inside the kernel, by asking /proc
 * for its state ('S' sleeping, 'T' stopped, 'Z' zombie); every look yields.
 */
__attribute__((unused)) static void await_state(pid_t tgid, pid_t tid, char state)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", tgid, tid);
    for (;;) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        CHECK(fd >= 0);
        ssize_t count = read(fd, text, sizeof text - 1);
        CHECK(count > 0);
        close(fd);
        text[count] = 0;
        char *end = strrchr(text, ')');
        CHECK(end);
        if (end[2] == state)
            return;
        sched_yield();
    }
}

#endif
