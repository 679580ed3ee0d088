/*
 * Threads come and go, many alive at once, detached ones too.
 * @link pthread
 */
#include "check.h"
#include <pthread.h>

#define THREADS 60

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static int alive, done;

static void *work(void *number)
{
    pthread_mutex_lock(&mutex);
    alive++;
    pthread_cond_broadcast(&condition);
    while (alive < THREADS)
        pthread_cond_wait(&condition, &mutex);
    done++;
    pthread_cond_broadcast(&condition);
    pthread_mutex_unlock(&mutex);
    return number;
}

int main(void)
{
    pthread_t threads[THREADS];
    pthread_attr_t attributes;
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstacksize(&attributes, 65536) == 0);
    for (long i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], &attributes, work, (void *)i) == 0);
        if (i % 2)
            CHECK(pthread_detach(threads[i]) == 0);
    }
    for (long i = 0; i < THREADS; i += 2) {
        void *result;
        CHECK(pthread_join(threads[i], &result) == 0 && (long)result == i);
    }
    pthread_mutex_lock(&mutex);
    while (done < THREADS)
        pthread_cond_wait(&condition, &mutex);
    pthread_mutex_unlock(&mutex);
    return success();
}
