/*
 * Thread-local storage: __thread variables, pthread keys and their destructors, errno.
 * @link pthread
 * @also static
 */
#include "check.h"
#include <pthread.h>

static __thread int number = 100;
static __thread char name[64];
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int destroyed, keys;

static void destroy(void *value)
{
    pthread_mutex_lock(&mutex);
    destroyed += *(int *)value;
    pthread_mutex_unlock(&mutex);
    free(value);
}

static void make_key(void)
{
    keys++;
    CHECK(pthread_key_create(&key, destroy) == 0);
}

static void *work(void *which)
{
    int mine = (int)(long)which;
    CHECK(number == 100 && name[0] == 0);
    CHECK(pthread_once(&once, make_key) == 0);
    int *value = malloc(sizeof *value);
    *value = mine;
    CHECK(pthread_setspecific(key, value) == 0);
    snprintf(name, sizeof name, "thread %d", mine);
    CHECK(pthread_setname_np(pthread_self(), name) == 0);
    for (int i = 0; i < 20; i++) {
        number += mine;
        errno = mine;
        sched_yield();
        CHECK(number == 100 + (i + 1) * mine && errno == mine);
    }
    char found[64], expected[64];
    CHECK(pthread_getname_np(pthread_self(), found, sizeof found) == 0);
    snprintf(expected, sizeof expected, "thread %d", mine);
    CHECK(strcmp(found, expected) == 0 && strcmp(name, expected) == 0);
    return (void *)(long)number;
}

int main(void)
{
    pthread_t threads[6];
    for (long i = 0; i < 6; i++)
        CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
    for (long i = 0; i < 6; i++) {
        void *result;
        CHECK(pthread_join(threads[i], &result) == 0);
        CHECK((long)result == 100 + 20 * i);
    }
    CHECK(destroyed == 15 && keys == 1 && number == 100);
    return success();
}
