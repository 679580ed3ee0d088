/* Threads whose first call that may sleep comes soon after they changed a shared number, which others
 * watch: the recorder puts a thread back before that call to get memory for it, and another may run
 * then. What comes out differs run by run. @link pthread */
#include "landing.h"
#include <pthread.h>
#include <stdatomic.h>

#define WATCHERS 2

static volatile uint64_t number, seen[WATCHERS];
static atomic_bool over;
static int ends[2];

static void *watch(void *arg)
{
    uint64_t mixed = 0;

    while (!atomic_load_explicit(&over, memory_order_relaxed))
        mixed = mixed * 31 + number;
    seen[(uintptr_t)arg] = mixed;
    return NULL;
}

static void *call_once(void *arg)
{
    char byte = 0;

    for (volatile unsigned i = 0; i < (uintptr_t)arg % 7 * 4000; i++)
        ;
    number = number * 7 + (uintptr_t)arg;
    if (read(ends[0], &byte, 1) != 1)
        _exit(98);
    number += (unsigned char)byte;
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t watchers[WATCHERS], caller;

    wanted(argc, argv);
    if (pipe(ends))
        return 97;
    for (uint64_t i = 0; i < WATCHERS; i++)
        pthread_create(&watchers[i], NULL, watch, (void *)i);
    for (uint64_t i = 0; i < landings_wanted; i++) {
        char byte = (char)i;

        if (write(ends[1], &byte, 1) != 1)
            return 96;
        pthread_create(&caller, NULL, call_once, (void *)i);
        pthread_join(caller, NULL);
    }
    atomic_store(&over, 1);
    for (int i = 0; i < WATCHERS; i++) {
        pthread_join(watchers[i], NULL);
        mix(seen[i]);
    }
    mix(number);
    say_landings();
    return 0;
}
