/* A lock-free stack without a count against reuse: between a pop's look at the top's successor and
 * its exchange, other threads may take the top and the successor, and put the top back (the ABA
 * problem). Then a node has two owners. Ends with status 1 when it notices. @link pthread */
#include "landing.h"
#include <pthread.h>
#include <stdatomic.h>

#define NODES 32
#define THREADS 4

struct node {
    struct node *_Atomic next;
    atomic_int owned;
    uint64_t value;
};

static struct node nodes[NODES];
static struct node *_Atomic top;
static volatile uint64_t work, depths[NODES + 1];
static unsigned rounds;

static void push(struct node *node)
{
    struct node *old = atomic_load(&top);

    do
        atomic_store_explicit(&node->next, old, memory_order_relaxed);
    while (!atomic_compare_exchange_strong(&top, &old, node));
}

/* How deep the stack is: the time that this takes is the window. */
static void measure(struct node *node)
{
    unsigned depth = 1;

    for (; node && depth < NODES; node = atomic_load_explicit(&node->next, memory_order_relaxed))
        depth++;
    depths[depth % (NODES + 1)]++;
}

static struct node *pop(void)
{
    struct node *old = atomic_load(&top), *next;

    do {
        if (!old)
            return NULL;
        next = atomic_load_explicit(&old->next, memory_order_relaxed);
        measure(next);
    } while (!atomic_compare_exchange_strong(&top, &old, next));
    return old;
}

static struct node *take(void)
{
    struct node *node = pop();

    if (node && atomic_exchange(&node->owned, 1)) {
        static const char text[] = "a node has two owners\n";

        if (write(1, text, sizeof text - 1) < 0)
            _exit(99);
        _exit(1);
    }
    return node;
}

static void give(struct node *node)
{
    if (!node)
        return;
    atomic_store(&node->owned, 0);
    push(node);
}

static void *worker(void *arg)
{
    for (unsigned i = 0; i < rounds; i++) {
        struct node *first = take(), *second = take();

        if (first)
            first->value += (uint64_t)arg;
        give(first); /* the top again, and what was below it is not */
        for (int n = 0; n < 100; n++)
            work++;
        give(second);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];

    wanted(argc, argv);
    rounds = landings_wanted * 16000;
    for (int i = 0; i < NODES; i++)
        push(&nodes[i]);
    for (uint64_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, worker, (void *)i);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < NODES; i++)
        mix(nodes[i].value);
    mix(work);
    say_landings();
    return 0;
}
