/* A lock-free ring and a lock-free stack (with a count against reuse) between threads. @link pthread */
#include "landing.h"
#include <pthread.h>

#define SIZE 64
static volatile uint64_t ring[SIZE], head, tail;
static volatile uint64_t top; /* index + 1 in the low half, count in the high half */
static struct {
    volatile uint32_t next, value;
} nodes[256];
static volatile uint64_t order, retries;
static unsigned rounds = 20000;

static void push(uint32_t node)
{
    uint64_t old, new;

    do {
        old = top;
        nodes[node].next = (uint32_t)old;
        new = (old & ~0xffffffffull) + (1ull << 32) + node + 1;
    } while (!__atomic_compare_exchange_n(&top, &old, new, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
}

static int pop(void)
{
    uint64_t old, new;

    do {
        old = top;
        if (!(uint32_t)old)
            return -1;
        new = (old & ~0xffffffffull) + (1ull << 32) + nodes[(uint32_t)old - 1].next;
        retries++;
    } while (!__atomic_compare_exchange_n(&top, &old, new, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    return (int)(uint32_t)old - 1;
}

static void *producer(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < rounds; i++) {
        while (head - tail == SIZE)
            ;
        ring[head % SIZE] = i;
        __atomic_store_n(&head, head + 1, __ATOMIC_RELEASE);
    }
    return NULL;
}

static void *consumer(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < rounds; i++) {
        while (head == tail)
            retries++;
        order = order * 31 + ring[tail % SIZE];
        __atomic_store_n(&tail, tail + 1, __ATOMIC_RELEASE);
    }
    return NULL;
}

static void *stacker(void *arg)
{
    for (unsigned i = 0; i < rounds * 10; i++) {
        int node = pop();

        if (node < 0)
            continue;
        nodes[node].value += (uint32_t)(uint64_t)arg;
        push((uint32_t)node);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    void *(*const parts[])(void *) = {producer, consumer, stacker, stacker};
    pthread_t threads[4];

    wanted(argc, argv);
    rounds = landings_wanted * 10;
    for (uint32_t i = 0; i < 256; i++)
        push(i);
    for (uint64_t i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, parts[i], (void *)i);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 256; i++)
        mix(nodes[i].value | (uint64_t)nodes[i].next << 32);
    mix(order);
    mix(retries);
    say_landings();
    return 0;
}
