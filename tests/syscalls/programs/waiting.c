/* Clocks, timers, sleeping, polling, futexes, IPC. */
#include "common.h"

#include <mqueue.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/poll.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/timex.h>
#include <sys/wait.h>
#include <sys/uio.h>
#include <linux/futex.h>

static void handler(int sig)
{
    (void)sig;
}

/* Interrupts a call that sleeps. The alarm repeats: the first one may come too early. */
static void alarms(int on)
{
    uint64_t every_20_ms[4] = {0, on ? 20000 : 0, 0, on ? 5000 : 0};
    CALL(setitimer, 0, every_20_ms, room(64));
}
#define INTERRUPTED(...)   \
    do {                   \
        alarms(1);         \
        CALL(__VA_ARGS__); \
        alarms(0);         \
    } while (0)

static void clocks(void)
{
    CALL(time, room(16));
    CALL(gettimeofday, room(16), room(16));
    CALL(clock_gettime, 0, room(64));
    CALL(clock_getres, 1, room(64));
    CALL(clock_gettime, 99, room(64));
    CALL(times, room(64));
    struct timex tx = {0};
    CALL(adjtimex, with(&tx, sizeof tx));
    CALL(clock_adjtime, 0, with(&tx, sizeof tx));
    CALL(getitimer, 0, room(64));
    uint64_t one_ms[2] = {0, 1000000}, second[2] = {1, 0};
    CALL(nanosleep, one_ms, room(64));
    CALL(clock_nanosleep, 1, 0, one_ms, room(64));
    INTERRUPTED(nanosleep, second, room(64));
    INTERRUPTED(clock_nanosleep, 1, 0, second, room(64));
    uint64_t far[2] = {1ull << 40, 0};
    INTERRUPTED(clock_nanosleep, 1, 1, far, room(64));
    INTERRUPTED(pause);
    CALL(alarm, 0);
    int *id = room(64);
    struct sigevent ev = {.sigev_notify = SIGEV_NONE};
    CALL(timer_create, 1, &ev, id);
    CALL(timer_create, 999, &ev, room(64));
    uint64_t spec[4] = {0, 0, 100, 0};
    CALL(timer_settime, *id, 0, spec, room(64));
    CALL(timer_gettime, *id, room(64));
    CALL(timer_getoverrun, *id);
    CALL(timer_delete, *id);
    int t = (int)CALL(timerfd_create, 1, 0);
    CALL(timerfd_settime, t, 0, spec, room(64));
    CALL(timerfd_gettime, t, room(64));
}

static void polling(void)
{
    int ends[2];
    if (pipe(ends) != 0)
        return;
    CALL(write, ends[1], "x", 1);
    struct pollfd fds[2] = {{ends[0], POLLIN, -1}, {ends[1], POLLOUT, -1}};
    uint64_t one_ms[2] = {0, 1000000}, second[2] = {1, 0}, mask = 0;
    CALL(poll, with(fds, sizeof fds), 2, 10);
    CALL(ppoll, with(fds, sizeof fds), 2, with(second, 16), &mask, 8);
    struct pollfd idle = {ends[1], POLLIN, -1};
    CALL(poll, with(&idle, sizeof idle), 1, 1);
    INTERRUPTED(poll, with(&idle, sizeof idle), 1, 1000);
    INTERRUPTED(ppoll, with(&idle, sizeof idle), 1, with(second, 16), &mask, 8);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(ends[0], &set);
    FD_SET(ends[1], &set);
    CALL(select, ends[1] + 1, with(&set, sizeof set), with(&set, sizeof set), NULL,
         with(second, 16));
    struct { void *mask; size_t len; } pack = {&mask, 8};
    CALL(pselect6, ends[1] + 1, with(&set, sizeof set), NULL, with(&set, sizeof set),
         with(second, 16), &pack);
    FD_ZERO(&set);
    CALL(select, 0, NULL, NULL, NULL, with(&(uint64_t[2]){0, 1000}, 16));
    INTERRUPTED(pselect6, 0, NULL, NULL, NULL, with(second, 16), NULL);

    int e = (int)CALL(epoll_create1, 0);
    CALL(epoll_create, 1);
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = 42};
    CALL(epoll_ctl, e, EPOLL_CTL_ADD, ends[0], &ev);
    CALL(epoll_ctl, e, EPOLL_CTL_DEL, 1234, NULL);
    CALL(epoll_wait, e, room(200), 8, 10);
    CALL(epoll_pwait, e, room(200), 8, 10, &mask, 8);
    CALL(epoll_pwait2, e, room(200), 8, one_ms, &mask, 8);
    CALL(ioctl, e, 0x80088a02, room(64));
    int v = (int)CALL(eventfd2, 3, 0);
    CALL(eventfd, 3);
    CALL(read, v, room(64), 8);
}

static void futexes(void)
{
    uint32_t *a = room(64), *b = room(64);
    uint64_t one_ms[2] = {0, 1000000};
    *a = *b = 0;
    CALL(futex, a, FUTEX_WAIT, 1, NULL);
    CALL(futex, a, FUTEX_WAIT_PRIVATE, 0, one_ms);
    CALL(futex, a, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 0, one_ms, NULL, -1);
    CALL(futex, a, FUTEX_WAKE, 1);
    CALL(futex, a, FUTEX_WAKE_BITSET, 1, NULL, NULL, -1);
    CALL(futex, a, FUTEX_REQUEUE, 1, 1, b);
    CALL(futex, a, FUTEX_CMP_REQUEUE_PRIVATE, 1, 1, b, 0);
    CALL(futex, a, FUTEX_WAKE_OP, 1, 1, b, FUTEX_OP(FUTEX_OP_SET, 7, FUTEX_OP_CMP_EQ, 0));
    CALL(futex, a, FUTEX_LOCK_PI_PRIVATE, 0, NULL);
    CALL(futex, a, FUTEX_UNLOCK_PI_PRIVATE, 0);
    CALL(futex, a, FUTEX_TRYLOCK_PI, 0);
    CALL(futex, a, FUTEX_UNLOCK_PI, 0);
    CALL(futex, a, 13 /* LOCK_PI2 */, 0, NULL);
    CALL(futex, a, FUTEX_UNLOCK_PI, 0);
    *b = 0;
    CALL(futex, a, FUTEX_CMP_REQUEUE_PI, 1, 1, b, 0);
    CALL(futex, a, FUTEX_WAIT_REQUEUE_PI, 1, one_ms, b);
    CALL(futex, a, 99, 0, NULL);
    struct { uint64_t val, addr; uint32_t flags, pad; } w = {1, (uintptr_t)a, 2, 0};
    CALL(futex_waitv, &w, 1, 0, NULL, 1);
    CALL(futex_wake, a, -1, 1, 2);
    CALL(futex_wait, a, 1, -1, 2, NULL, 1);

    /* contended: a child holds the lock and lets go */
    uint32_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (fork() == 0) {
        CALL(futex, shared, FUTEX_LOCK_PI, 0, NULL);
        usleep(3000);
        CALL(futex, shared, FUTEX_UNLOCK_PI, 0);
        _exit(0);
    }
    usleep(1000);
    CALL(futex, shared, FUTEX_LOCK_PI, 0, NULL);
    CALL(futex, shared, FUTEX_UNLOCK_PI, 0);
    wait(NULL);
}

static void ipc(void)
{
    int m = (int)CALL(msgget, IPC_PRIVATE, 0600);
    struct { long type; char text[50]; } msg = {3, "hello, queue"};
    CALL(msgsnd, m, &msg, 12, 0);
    CALL(msgsnd, m, &msg, 50, 0);
    CALL(msgrcv, m, room(100), 50, 0, 0);
    CALL(msgrcv, m, room(100), 50, 0, 0);
    CALL(msgrcv, m, room(100), 50, 0, IPC_NOWAIT);
    CALL(msgctl, m, IPC_STAT, room(200));
    CALL(msgctl, m, 3, room(200));
    CALL(msgctl, m, 12, room(200));
    CALL(msgctl, m, IPC_RMID, 0);
    int s = (int)CALL(semget, IPC_PRIVATE, 5, 0600);
    struct sembuf ops[2] = {{0, 1, 0}, {1, 1, 0}};
    CALL(semop, s, ops, 2);
    CALL(semtimedop, s, ops, 2, NULL);
    CALL(semctl, s, 0, GETVAL, 0);
    CALL(semctl, s, 0, SETVAL, 4);
    CALL(semctl, s, 0, GETALL, room(64));
    CALL(semctl, s, 0, IPC_STAT, room(200));
    CALL(semctl, s, 0, 3, room(200));
    CALL(semctl, s, 0, 19, room(200));
    CALL(semctl, s, 0, IPC_RMID, 0);
    int h = (int)CALL(shmget, IPC_PRIVATE, 4096, 0600);
    void *at = (void *)CALL(shmat, h, NULL, 0);
    CALL(shmctl, h, IPC_STAT, room(200));
    CALL(shmctl, h, 3, room(200));
    CALL(shmctl, h, 14, room(200));
    CALL(shmdt, at);
    CALL(shmctl, h, IPC_RMID, 0);

    struct mq_attr attr = {.mq_maxmsg = 2, .mq_msgsize = 100};
    int q = (int)CALL(mq_open, "relive-oracle", O_RDWR | O_CREAT, 0600, &attr);
    CALL(mq_timedsend, q, "posix", 5, 1, NULL);
    CALL(mq_timedreceive, q, room(200), 100, room(16), NULL);
    CALL(mq_getsetattr, q, &attr, room(200));
    CALL(mq_notify, q, NULL);
    CALL(mq_unlink, "relive-oracle");
}

static void memory(void)
{
    uint8_t *p = (uint8_t *)CALL(mmap, NULL, 65536, 3, 0x22, -1, 0);
    p[0] = p[8192] = 1;
    CALL(mincore, p, 65536, room(64));
    CALL(mincore, p, 4097, room(64));
    CALL(mprotect, p, 4096, 1);
    CALL(madvise, p, 4096, 4);
    CALL(msync, p, 4096, 4);
    CALL(mlock, p, 4096), CALL(munlock, p, 4096), CALL(mlock2, p, 4096, 0), CALL(munlockall);
    CALL(mremap, p, 65536, 131072, 1, 0);
    CALL(brk, 0);
    CALL(get_mempolicy, room(64), room(1200), 1024, 0, 0);
    CALL(get_mempolicy, room(64), room(1200), 65, 0, 0);
    CALL(set_mempolicy, 0, NULL, 0);
    CALL(mbind, p, 4096, 0, NULL, 0, 0);
    void *pages[2] = {arena, p + 8192};
    CALL(move_pages, 0, 2, pages, NULL, room(64), 0);
    CALL(migrate_pages, 0, 8, &(uint64_t){1}, &(uint64_t){1});
    struct iovec local[2] = {{room(20), 10}, {room(20), 20}}, remote = {"0123456789abcdefghij", 20};
    CALL(process_vm_readv, getpid(), local, 2, &remote, 1, 0);
    local[0].iov_base = "0123456789";
    local[1].iov_base = "abcdefghijklmnopqrst";
    remote.iov_base = room(64);
    remote.iov_len = 25;
    CALL(process_vm_writev, getpid(), local, 2, &remote, 1, 0);
    CALL(pkey_alloc, 0, 0);
    CALL(munmap, p, 4096);
}

int main(void)
{
    signal(SIGALRM, handler);
    clocks();
    polling();
    futexes();
    ipc();
    memory();
    return 0;
}
