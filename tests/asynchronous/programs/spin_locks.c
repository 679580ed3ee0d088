/* Four threads with spin locks: test-and-set, ticket, pthread_spin. @link pthread */
#include "landing.h"
#include <pthread.h>

static volatile int taken;
static volatile unsigned next_ticket, serving;
static pthread_spinlock_t spin;
static volatile uint64_t counters[3], spun[4];
static unsigned rounds = 4000;

static void *worker(void *arg)
{
    uint64_t me = (uint64_t)arg;

    for (unsigned i = 0; i < rounds; i++) {
        unsigned ticket;

        while (__atomic_exchange_n(&taken, 1, __ATOMIC_ACQUIRE))
            spun[me]++;
        counters[0] = counters[0] * 3 + me;
        __atomic_store_n(&taken, 0, __ATOMIC_RELEASE);
        pthread_spin_lock(&spin);
        counters[1] = counters[1] * 5 + me;
        pthread_spin_unlock(&spin);
        if (i % 16)
            continue;
        ticket = __atomic_fetch_add(&next_ticket, 1, __ATOMIC_RELAXED);
        while (serving != ticket)
            spun[me]++;
        counters[2] = counters[2] * 7 + me;
        serving = ticket + 1;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[4];

    wanted(argc, argv);
    rounds = landings_wanted * 1000;
    pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE);
    for (uint64_t i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, worker, (void *)i);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 3; i++)
        mix(counters[i]);
    for (int i = 0; i < 4; i++)
        mix(spun[i]);
    say_landings();
    return 0;
}
