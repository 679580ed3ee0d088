/* epoll: level, edge and one-shot, data kept, time-outs, a mask, an epoll in an epoll. */
#include "check.h"
#include <sys/epoll.h>

static volatile sig_atomic_t caught;

static void on_signal(int signal_number)
{
    caught = signal_number;
}

int main(void)
{
    int set = epoll_create1(EPOLL_CLOEXEC), ends[3][2];
    CHECK(set >= 0);
    for (int i = 0; i < 3; i++) {
        static const uint32_t kinds[] = {EPOLLIN, EPOLLIN | EPOLLET, EPOLLIN | EPOLLONESHOT};
        CHECK(pipe(ends[i]) == 0);
        struct epoll_event event = {.events = kinds[i], .data.u64 = 0xabcdef0000000000u + (unsigned)i};
        CHECK(epoll_ctl(set, EPOLL_CTL_ADD, ends[i][0], &event) == 0);
    }
    struct epoll_event events[8];
    CHECK(epoll_wait(set, events, 8, 0) == 0);
    CHECK(epoll_wait(set, events, 8, 2) == 0);
    for (int i = 0; i < 3; i++)
        tell(ends[i][1]);
    CHECK(epoll_wait(set, events, 8, -1) == 3);
    unsigned seen = 0;
    for (int i = 0; i < 3; i++) {
        CHECK(events[i].events == EPOLLIN && events[i].data.u64 >> 40 == 0xabcdef);
        seen |= 1u << (events[i].data.u64 & 0xff);
    }
    CHECK(seen == 7);
    CHECK(epoll_wait(set, events, 8, -1) == 1 && (events[0].data.u64 & 0xff) == 0);
    struct epoll_event again = {.events = EPOLLIN | EPOLLONESHOT, .data.u64 = 9};
    CHECK(epoll_ctl(set, EPOLL_CTL_MOD, ends[2][0], &again) == 0);
    tell(ends[1][1]);
    CHECK(epoll_wait(set, events, 1, -1) == 1); /* one at a time: room for one */
    CHECK(epoll_wait(set, events, 8, -1) >= 1);
    CHECK(epoll_ctl(set, EPOLL_CTL_DEL, ends[0][0], NULL) == 0);
    CHECK_FAILS(epoll_ctl(set, EPOLL_CTL_DEL, ends[0][0], NULL), ENOENT);

    int outer = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event nested = {.events = EPOLLIN, .data.ptr = &outer};
    CHECK(epoll_ctl(outer, EPOLL_CTL_ADD, set, &nested) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        tell(ends[1][1]);
        _exit(0);
    }
    CHECK(epoll_wait(outer, events, 8, -1) == 1 && events[0].data.ptr == &outer);
    CHECK(epoll_wait(set, events, 8, -1) >= 1);
    reap(child, 0);

    /* A signal blocked everywhere but inside the wait. */
    sigset_t blocked, none;
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    CHECK(signal(SIGUSR1, on_signal) != SIG_ERR);
    CHECK(sigprocmask(SIG_BLOCK, &blocked, NULL) == 0 && raise(SIGUSR1) == 0 && !caught);
    int empty = epoll_create1(0);
    CHECK_FAILS(epoll_pwait(empty, events, 8, -1, &none), EINTR);
    CHECK(caught == SIGUSR1);
#ifdef SYS_epoll_pwait2
    struct timespec brief = {.tv_nsec = 1000000};
    long result = syscall(SYS_epoll_pwait2, empty, events, 8, &brief, NULL, 0);
    CHECK(result == 0 || errno == ENOSYS);
#endif
    return success();
}
