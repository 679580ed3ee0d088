/* A thread whose slices end at its system calls: what it wrote before them is seen by the thread that
 * spins meanwhile. @link pthread */
#include "landing.h"
#include <pthread.h>

static volatile uint64_t written, over;
static uint64_t seen;

static void *caller(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < landings_wanted * 200; i++) {
        written++;
        if (getppid() < 0)
            abort();
    }
    over = 1;
    return NULL;
}

int main(int argc, char **argv)
{
    uint64_t last = 0;
    pthread_t thread;

    wanted(argc, argv);
    pthread_create(&thread, NULL, caller, NULL);
    while (!over) {
        uint64_t now = written;

        if (now != last) {
            landings++;
            mix(now);
        }
        last = now;
        seen++;
    }
    pthread_join(thread, NULL);
    mix(seen);
    say_landings();
    return 0;
}
