/*
 * Twenty threads and five processes sleep at the same time: together as long as one, not in turn.
 * @link pthread
 */
#include "check.h"
#include <pthread.h>

static void *nap(void *unused)
{
    for (int i = 0; i < 3; i++)
        CHECK(nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL) == 0);
    return unused;
}

int main(void)
{
    struct timespec before, after;
    pthread_t threads[20];
    pid_t children[5];
    CHECK(clock_gettime(CLOCK_MONOTONIC, &before) == 0);
    for (int i = 0; i < 5; i++) {
        children[i] = fork();
        CHECK(children[i] >= 0);
        if (children[i] == 0) {
            nap(NULL);
            _exit(0);
        }
    }
    for (int i = 0; i < 20; i++)
        CHECK(pthread_create(&threads[i], NULL, nap, NULL) == 0);
    for (int i = 0; i < 20; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    for (int i = 0; i < 5; i++)
        reap(children[i], 0);
    CHECK(clock_gettime(CLOCK_MONOTONIC, &after) == 0);
    double seconds = (double)(after.tv_sec - before.tv_sec) +
                     (double)(after.tv_nsec - before.tv_nsec) / 1e9;
    CHECK(seconds >= 0.06 && seconds < 1.2); /* 1.5 s one after the other */
    printf("%f\n", seconds);
    return success();
}
