/* poll, ppoll, select and pselect: readiness, time left, hang-ups, bad fds, a mask inside. */
#include "check.h"
#include <sys/select.h>

static volatile sig_atomic_t caught;

static void on_signal(int signal_number)
{
    caught = signal_number;
}

int main(void)
{
    int ends[2], other[2];
    CHECK(pipe(ends) == 0 && pipe(other) == 0);
    struct pollfd fds[] = {{.fd = ends[0], .events = POLLIN},
                           {.fd = other[1], .events = POLLOUT},
                           {.fd = -1, .events = POLLIN, .revents = 9},
                           {.fd = 1000, .events = POLLIN}};
    CHECK(poll(fds, 4, -1) == 2);
    CHECK(fds[0].revents == 0 && fds[1].revents == POLLOUT && fds[2].revents == 0);
    CHECK(fds[3].revents == POLLNVAL);
    CHECK(poll(fds, 1, 3) == 0);
    struct timespec brief = {.tv_nsec = 1000000};
    CHECK(ppoll(fds, 1, &brief, NULL) == 0);
    tell(ends[1]);
    CHECK(poll(fds, 1, -1) == 1 && fds[0].revents == POLLIN);

    fd_set reading, writing;
    FD_ZERO(&reading);
    FD_ZERO(&writing);
    FD_SET(ends[0], &reading);
    FD_SET(other[0], &reading);
    FD_SET(other[1], &writing);
    struct timeval limit = {.tv_sec = 5};
    CHECK(select(other[1] + 1, &reading, &writing, NULL, &limit) == 2);
    CHECK(FD_ISSET(ends[0], &reading) && !FD_ISSET(other[0], &reading));
    CHECK(FD_ISSET(other[1], &writing));
    CHECK(limit.tv_sec <= 5);
    printf("left %ld.%06ld\n", limit.tv_sec, limit.tv_usec);
    FD_ZERO(&reading);
    FD_SET(other[0], &reading);
    limit = (struct timeval){.tv_usec = 2000};
    CHECK(select(other[0] + 1, &reading, NULL, NULL, &limit) == 0);
    CHECK(!FD_ISSET(other[0], &reading) && limit.tv_sec == 0 && limit.tv_usec == 0);
    FD_SET(50, &reading);
    CHECK_FAILS(select(51, &reading, NULL, NULL, NULL), EBADF);

    /* A high fd, and one that hangs up while this process waits. */
    CHECK(dup2(other[0], 900) == 900);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        await(ends[0]);
        tell(other[1]);
        _exit(0);
    }
    FD_ZERO(&reading);
    FD_SET(900, &reading);
    CHECK(select(901, &reading, NULL, NULL, NULL) == 1 && FD_ISSET(900, &reading));
    reap(child, 0);
    await(900);
    close(other[1]);
    fds[0] = (struct pollfd){.fd = 900, .events = POLLIN};
    CHECK(poll(fds, 1, -1) == 1 && fds[0].revents == POLLHUP);

    sigset_t blocked, none;
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    CHECK(signal(SIGUSR1, on_signal) != SIG_ERR);
    CHECK(sigprocmask(SIG_BLOCK, &blocked, NULL) == 0);
    CHECK(raise(SIGUSR1) == 0 && !caught);
    CHECK_FAILS(ppoll(NULL, 0, NULL, &none), EINTR);
    CHECK(caught == SIGUSR1);
    caught = 0;
    CHECK(raise(SIGUSR1) == 0 && !caught);
    CHECK_FAILS(pselect(0, NULL, NULL, NULL, NULL, &none), EINTR);
    CHECK(caught == SIGUSR1);
    return success();
}
