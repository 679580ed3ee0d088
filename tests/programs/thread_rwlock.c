/*
 * Read-write locks, preferring readers and writers.
 * @link pthread
 */
#include "check.h"
#include <pthread.h>

static pthread_rwlock_t lock;
static long first, second;

static void *writer(void *unused)
{
    for (int i = 0; i < 100; i++) {
        CHECK(pthread_rwlock_wrlock(&lock) == 0);
        first++;
        sched_yield();
        second++;
        CHECK(pthread_rwlock_unlock(&lock) == 0);
    }
    return unused;
}

static void *reader(void *unused)
{
    for (int i = 0; i < 100; i++) {
        CHECK(pthread_rwlock_rdlock(&lock) == 0);
        CHECK(first == second);
        if (i % 8 == 0)
            sched_yield();
        CHECK(pthread_rwlock_unlock(&lock) == 0);
    }
    return unused;
}

int main(void)
{
    static const int kinds[] = {PTHREAD_RWLOCK_PREFER_READER_NP,
                                PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP};
    for (int kind = 0; kind < 2; kind++) {
        pthread_rwlockattr_t attributes;
        CHECK(pthread_rwlockattr_init(&attributes) == 0);
        CHECK(pthread_rwlockattr_setkind_np(&attributes, kinds[kind]) == 0);
        CHECK(pthread_rwlock_init(&lock, &attributes) == 0);
        pthread_t threads[5];
        for (int i = 0; i < 5; i++)
            CHECK(pthread_create(&threads[i], NULL, i < 2 ? writer : reader, NULL) == 0);
        for (int i = 0; i < 5; i++)
            CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(first == 200 * (kind + 1) && second == first);
        CHECK(pthread_rwlock_rdlock(&lock) == 0 && pthread_rwlock_tryrdlock(&lock) == 0);
        CHECK(pthread_rwlock_trywrlock(&lock) == EBUSY);
        CHECK(pthread_rwlock_unlock(&lock) == 0 && pthread_rwlock_unlock(&lock) == 0);
        CHECK(pthread_rwlock_destroy(&lock) == 0);
    }
    return success();
}
