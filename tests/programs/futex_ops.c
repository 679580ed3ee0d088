/*
 * futex by hand: wait, wake, time-outs relative and absolute, bitsets, requeue, wake-op, waitv.
 * @link pthread
 */
#include "check.h"
#include <linux/futex.h>
#include <pthread.h>

#define WAITERS 5

static uint32_t first, second;
static int started[2], woken;
static pid_t tids[WAITERS];

static long futex(uint32_t *word, int operation, uint32_t value, const void *timeout,
                  uint32_t *other, uint32_t value3)
{
    return syscall(SYS_futex, word, operation, value, timeout, other, value3);
}

static void *waiter(void *number)
{
    long i = (long)number;
    tids[i] = (pid_t)syscall(SYS_gettid);
    tell(started[1]);
    CHECK(futex(&first, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, 1u << i) == 0);
    __atomic_add_fetch(&woken, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static void start(pthread_t *threads)
{
    woken = 0;
    for (long i = 0; i < WAITERS; i++) {
        CHECK(pthread_create(&threads[i], NULL, waiter, (void *)i) == 0);
        await(started[0]);
        await_state(getpid(), tids[i], 'S');
    }
}

static void join(pthread_t *threads)
{
    for (int i = 0; i < WAITERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(woken == WAITERS);
}

int main(void)
{
    pthread_t threads[WAITERS];
    CHECK(pipe(started) == 0);
    struct timespec brief = {.tv_nsec = 1000000}, until;
    CHECK_FAILS(futex(&first, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0), EAGAIN);
    CHECK_FAILS(futex(&first, FUTEX_WAIT_PRIVATE, 0, &brief, NULL, 0), ETIMEDOUT);
    CHECK(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
    CHECK_FAILS(futex(&first, FUTEX_WAIT_BITSET_PRIVATE, 0, &until, NULL,
                      FUTEX_BITSET_MATCH_ANY), ETIMEDOUT);
    CHECK(clock_gettime(CLOCK_REALTIME, &until) == 0);
    CHECK_FAILS(futex(&first, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 0, &until, NULL,
                      FUTEX_BITSET_MATCH_ANY), ETIMEDOUT);
    CHECK_FAILS(futex((uint32_t *)9, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), EINVAL);
    CHECK(futex(&first, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0) == 0);

    start(threads);
    CHECK(futex(&first, FUTEX_WAKE_BITSET_PRIVATE, INT_MAX, NULL, NULL, 0x0a) == 2);
    CHECK(futex(&first, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0) == 3);
    join(threads);

    /* One woken, the others moved to the second word and woken there. */
    start(threads);
    CHECK_FAILS(futex(&first, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)10L, &second, 1), EAGAIN);
    CHECK(futex(&first, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)10L, &second, 0) == WAITERS);
    CHECK(futex(&first, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0) == 0);
    CHECK(futex(&second, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0) == WAITERS - 1);
    join(threads);

    /* Wake here, change the second word, and wake there too if it was 3. */
    start(threads);
    second = 3;
    CHECK(futex(&first, FUTEX_WAKE_OP_PRIVATE, 2, (void *)1L, &second,
                FUTEX_OP(FUTEX_OP_ADD, 7, FUTEX_OP_CMP_EQ, 3)) == 2);
    CHECK(second == 10);
    CHECK(futex(&first, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0) == 3);
    join(threads);

#ifdef SYS_futex_waitv
    struct futex_waitv several[2] = {
        {.val = 0, .uaddr = (uintptr_t)&first, .flags = FUTEX_32 | FUTEX_PRIVATE_FLAG},
        {.val = 11, .uaddr = (uintptr_t)&second, .flags = FUTEX_32 | FUTEX_PRIVATE_FLAG},
    };
    CHECK(syscall(SYS_futex_waitv, several, 2, 0, NULL, 0) == -1);
    CHECK(errno == EAGAIN || errno == ENOSYS);
#endif
    return success();
}
