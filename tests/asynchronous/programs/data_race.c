/* Eight CPU-bound threads with a data race: what comes out differs run by run. @link pthread */
#include "landing.h"
#include <pthread.h>

static volatile uint64_t counter, history;
static uint64_t rounds = 400000;

static void *worker(void *arg)
{
    for (uint64_t i = 0; i < rounds; i++) {
        uint64_t seen = counter;

        history = history * 3 + (uint64_t)arg;
        for (volatile int wait = 0; wait < 3; wait++)
            ;
        counter = seen + 1;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[8];

    wanted(argc, argv);
    rounds = landings_wanted * 20000;
    for (uint64_t i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, worker, (void *)i);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    mix(counter);
    mix(history);
    say_landings();
    return 0;
}
