/* THREADS threads run over `site` N times each, `outer` as often through a pointer. `probed` is an
 * instruction in site that every evaluator can have; rdi and rsi are still the arguments. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

long total;

__attribute__((noinline)) long site(long thread, long number)
{
    __asm__ volatile(".globl probed\n .type probed, @function\n probed: nop" ::"r"(thread),
                     "r"(number)
                     : "memory");
    return thread + number;
}

__attribute__((noinline)) long outer(long (*call)(long, long), long thread, long number)
{
    return call(thread, number) + 1;
}

static long n;

static void *run(void *argument)
{
    long thread = (long)argument, sum = 0;

    for (long i = 0; i < n; i++)
        sum += outer(site, thread, i);
    __atomic_add_fetch(&total, sum, __ATOMIC_SEQ_CST);
    return NULL;
}

int main(int argc, char **argv)
{
    long threads = argc > 1 ? atol(argv[1]) : 4;
    pthread_t ids[64];

    n = argc > 2 ? atol(argv[2]) : 1000;
    for (long i = 0; i < threads; i++)
        pthread_create(&ids[i], NULL, run, (void *)i);
    for (long i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    printf("%ld\n", total);
    return 0;
}
