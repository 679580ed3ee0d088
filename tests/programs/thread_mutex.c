/*
 * Mutexes of every type under contention: normal, recursive, error-checking, adaptive, timed.
 * @link pthread
 * @also static
 */
#include "check.h"
#include <pthread.h>

#define THREADS 4
#define ROUNDS 500

static pthread_mutex_t mutex;
static long counter;
static int order[THREADS * ROUNDS];

static void *work(void *number)
{
    for (int i = 0; i < ROUNDS; i++) {
        CHECK(pthread_mutex_lock(&mutex) == 0);
        order[counter++] = (int)(long)number;
        if (i % 16 == 0)
            sched_yield(); /* others come to wait for the mutex */
        CHECK(pthread_mutex_unlock(&mutex) == 0);
    }
    return NULL;
}

int main(void)
{
    static const int types[] = {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE,
                                PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_ADAPTIVE_NP};
    for (int type = 0; type < 4; type++) {
        pthread_mutexattr_t attributes;
        CHECK(pthread_mutexattr_init(&attributes) == 0);
        CHECK(pthread_mutexattr_settype(&attributes, types[type]) == 0);
        CHECK(pthread_mutex_init(&mutex, &attributes) == 0);
        counter = 0;
        pthread_t threads[THREADS];
        for (long i = 0; i < THREADS; i++)
            CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
        for (int i = 0; i < THREADS; i++)
            CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(counter == THREADS * ROUNDS);
        unsigned digest = 0; /* who came when: a replay must say the same */
        for (int i = 0; i < THREADS * ROUNDS; i++)
            digest = digest * 31 + (unsigned)order[i];
        printf("type %d order %08x\n", type, digest);
        CHECK(pthread_mutex_lock(&mutex) == 0);
        if (types[type] == PTHREAD_MUTEX_RECURSIVE) {
            CHECK(pthread_mutex_lock(&mutex) == 0);
            CHECK(pthread_mutex_unlock(&mutex) == 0);
        } else if (types[type] == PTHREAD_MUTEX_ERRORCHECK) {
            CHECK(pthread_mutex_lock(&mutex) == EDEADLK);
        } else {
            CHECK(pthread_mutex_trylock(&mutex) == EBUSY);
            struct timespec until;
            CHECK(clock_gettime(CLOCK_REALTIME, &until) == 0);
            until.tv_nsec += 1000000;
            until.tv_sec += until.tv_nsec / 1000000000;
            until.tv_nsec %= 1000000000;
            CHECK(pthread_mutex_timedlock(&mutex, &until) == ETIMEDOUT);
        }
        CHECK(pthread_mutex_unlock(&mutex) == 0);
        CHECK(pthread_mutex_destroy(&mutex) == 0);
    }
    return success();
}
