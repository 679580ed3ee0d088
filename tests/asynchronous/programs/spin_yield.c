/* The same with sched_yield: a million times in the long run. @link pthread */
#include "landing.h"
#include <pthread.h>
#include <sched.h>

static volatile uint64_t turn, spins[2];
static uint64_t rounds = 2000;

static void *player(void *arg)
{
    uint64_t me = (uint64_t)arg;

    for (uint64_t i = 0; i < rounds; i++) {
        while (turn % 2 != me) {
            spins[me]++;
            sched_yield();
        }
        turn++;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t other;

    wanted(argc, argv);
    rounds = landings_wanted / 2;
    pthread_create(&other, NULL, player, (void *)1);
    player(NULL);
    pthread_join(other, NULL);
    mix(turn);
    mix(spins[0]);
    mix(spins[1]);
    say_landings();
    return 0;
}
