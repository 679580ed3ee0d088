/*
 * Barriers: six threads, many rounds, one serial thread a round; semaphores on the way.
 * @link pthread
 */
#include "check.h"
#include <pthread.h>
#include <semaphore.h>

#define THREADS 6
#define ROUNDS 60

static pthread_barrier_t barrier;
static sem_t tokens;
static int arrived[ROUNDS], serial[ROUNDS];

static void *work(void *unused)
{
    for (int round = 0; round < ROUNDS; round++) {
        CHECK(sem_wait(&tokens) == 0);
        __atomic_add_fetch(&arrived[round], 1, __ATOMIC_SEQ_CST);
        CHECK(sem_post(&tokens) == 0);
        int result = pthread_barrier_wait(&barrier);
        CHECK(result == 0 || result == PTHREAD_BARRIER_SERIAL_THREAD);
        CHECK(arrived[round] == THREADS);
        if (result)
            __atomic_add_fetch(&serial[round], 1, __ATOMIC_SEQ_CST);
    }
    return unused;
}

int main(void)
{
    CHECK(pthread_barrier_init(&barrier, NULL, THREADS) == 0);
    CHECK(sem_init(&tokens, 0, 2) == 0);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    for (int round = 0; round < ROUNDS; round++)
        CHECK(serial[round] == 1);
    CHECK(sem_trywait(&tokens) == 0 && sem_trywait(&tokens) == 0);
    CHECK_FAILS(sem_trywait(&tokens), EAGAIN);
    struct timespec until;
    CHECK(clock_gettime(CLOCK_REALTIME, &until) == 0);
    CHECK_FAILS(sem_timedwait(&tokens, &until), ETIMEDOUT);
    return success();
}
