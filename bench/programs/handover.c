/* Two threads hand over by spinning on a variable, argv[1] times in all. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static volatile uint64_t turn;
static uint64_t rounds;

static void *player(void *arg)
{
    uint64_t me = (uint64_t)arg;

    for (uint64_t i = 0; i < rounds; i++) {
        while (turn % 2 != me)
            ;
        turn++;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t other;

    rounds = (argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000) / 2;
    if (pthread_create(&other, NULL, player, (void *)1))
        return 1;
    player(NULL);
    pthread_join(other, NULL);
    printf("%llu\n", (unsigned long long)turn);
    return 0;
}
