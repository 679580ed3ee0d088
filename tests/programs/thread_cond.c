/*
 * Condition variables: producers and consumers on a small ring; timed waits; broadcast.
 * @link pthread
 */
#include "check.h"
#include <pthread.h>

#define ITEMS 600
#define SLOTS 4

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t room = PTHREAD_COND_INITIALIZER, filled = PTHREAD_COND_INITIALIZER;
static int ring[SLOTS], used, head, taken, open_gate;
static long sum;
static unsigned digest;

static void *produce(void *first)
{
    for (int i = 0; i < ITEMS; i++) {
        pthread_mutex_lock(&mutex);
        while (used == SLOTS)
            pthread_cond_wait(&room, &mutex);
        ring[(head + used++) % SLOTS] = (int)(long)first + i;
        pthread_cond_signal(&filled);
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void *consume(void *unused)
{
    for (;;) {
        pthread_mutex_lock(&mutex);
        while (used == 0 && taken < 2 * ITEMS)
            pthread_cond_wait(&filled, &mutex);
        if (taken == 2 * ITEMS) {
            pthread_cond_broadcast(&filled);
            pthread_mutex_unlock(&mutex);
            return unused;
        }
        sum += ring[head];
        digest = digest * 33 + (unsigned)ring[head];
        head = (head + 1) % SLOTS;
        used--;
        taken++;
        pthread_cond_signal(&room);
        if (taken == 2 * ITEMS)
            pthread_cond_broadcast(&filled);
        pthread_mutex_unlock(&mutex);
    }
}

static void *at_gate(void *unused)
{
    pthread_mutex_lock(&mutex);
    taken++;
    pthread_cond_signal(&room);
    while (!open_gate)
        pthread_cond_wait(&filled, &mutex);
    pthread_mutex_unlock(&mutex);
    return unused;
}

int main(void)
{
    pthread_t threads[8];
    for (long i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, produce, (void *)(i * 1000)) == 0);
    for (int i = 2; i < 5; i++)
        CHECK(pthread_create(&threads[i], NULL, consume, NULL) == 0);
    for (int i = 0; i < 5; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(sum == ITEMS * (long)(ITEMS - 1) + ITEMS * 1000L);
    printf("order %08x\n", digest);

    taken = 0;
    for (int i = 0; i < 8; i++)
        CHECK(pthread_create(&threads[i], NULL, at_gate, NULL) == 0);
    pthread_mutex_lock(&mutex);
    while (taken < 8)
        pthread_cond_wait(&room, &mutex);
    open_gate = 1;
    pthread_cond_broadcast(&filled);
    pthread_mutex_unlock(&mutex);
    for (int i = 0; i < 8; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);

    pthread_condattr_t attributes;
    pthread_cond_t timed;
    CHECK(pthread_condattr_init(&attributes) == 0);
    CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&timed, &attributes) == 0);
    struct timespec until;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
    until.tv_nsec += 2000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&mutex);
    int result;
    while ((result = pthread_cond_timedwait(&timed, &mutex, &until)) == 0)
        ;
    CHECK(result == ETIMEDOUT);
    pthread_mutex_unlock(&mutex);
    return success();
}
