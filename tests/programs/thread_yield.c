/*
 * Two threads hand over to each other by sched_yield alone: nobody blocks, all advance.
 * @link pthread
 */
#include "check.h"
#include <pthread.h>

static int turn;

static void *work(void *mine)
{
    for (int i = 0; i < 200; i++) {
        while (__atomic_load_n(&turn, __ATOMIC_SEQ_CST) != (int)(long)mine)
            sched_yield();
        __atomic_store_n(&turn, !turn, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[2];
    for (long i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(turn == 0);
    return success();
}
