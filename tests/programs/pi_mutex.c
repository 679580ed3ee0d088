/*
 * Priority-inheritance mutexes: the kernel itself writes the futex word on contention; robust too.
 * @link pthread
 */
#include "check.h"
#include <pthread.h>

#define THREADS 4

static pthread_mutex_t mutex;
static long counter;

static void *work(void *unused)
{
    for (int i = 0; i < 100; i++) {
        CHECK(pthread_mutex_lock(&mutex) == 0);
        long seen = counter;
        if (i % 4 == 0)
            sched_yield();
        counter = seen + 1;
        CHECK(pthread_mutex_unlock(&mutex) == 0);
    }
    return unused;
}

static void *die_with_it(void *unused)
{
    CHECK(pthread_mutex_lock(&mutex) == 0);
    return unused;
}

int main(void)
{
    pthread_mutexattr_t attributes;
    CHECK(pthread_mutexattr_init(&attributes) == 0);
    if (pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT) != 0)
        SKIP("no priority-inheritance mutexes");
    CHECK(pthread_mutex_init(&mutex, &attributes) == 0);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(counter == THREADS * 100);

    CHECK(pthread_mutex_lock(&mutex) == 0);
    struct timespec until;
    CHECK(clock_gettime(CLOCK_REALTIME, &until) == 0);
    CHECK(pthread_mutex_trylock(&mutex) == EBUSY);
    CHECK(pthread_mutex_unlock(&mutex) == 0);
    CHECK(pthread_mutex_destroy(&mutex) == 0);

    CHECK(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST) == 0);
    CHECK(pthread_mutex_init(&mutex, &attributes) == 0);
    CHECK(pthread_create(&threads[0], NULL, die_with_it, NULL) == 0);
    CHECK(pthread_join(threads[0], NULL) == 0);
    CHECK(pthread_mutex_lock(&mutex) == EOWNERDEAD);
    CHECK(pthread_mutex_consistent(&mutex) == 0);
    CHECK(pthread_mutex_unlock(&mutex) == 0);
    return success();
}
