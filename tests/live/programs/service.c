/* Runs until its standard input ends, executing `site` all the time in THREADS threads; then
 * checks its own code. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

volatile int stop;
long bad;

__attribute__((noinline)) long site(long n)
{
    __asm__ volatile("" ::: "memory");
    return n * 3 + 1;
}

__attribute__((noinline)) long second(long n)
{
    return n - site(n);
}

static void *run(void *argument)
{
    for (long i = 0; !stop; i++)
        if (second(i) != i - (i * 3 + 1))
            __atomic_add_fetch(&bad, 1, __ATOMIC_SEQ_CST);
    return argument;
}

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    unsigned char before[64];
    pthread_t ids[64];
    char byte;

    memcpy(before, (const void *)site, sizeof before);
    for (int i = 0; i < threads; i++)
        pthread_create(&ids[i], NULL, run, NULL);
    printf("ready\n");
    fflush(stdout);
    while (read(0, &byte, 1) > 0)
        ;
    stop = 1;
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    if (memcmp(before, (const void *)site, sizeof before))
        bad += 1000000;
    printf("%ld\n", bad);
    return bad != 0;
}
