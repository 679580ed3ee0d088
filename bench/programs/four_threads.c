/* Four CPU-bound threads; the iterations of each are told. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t iterations;

static void *work(void *arg)
{
    uint64_t x = (uint64_t)arg + 88172645463325252u;

    for (uint64_t i = 0; i < iterations; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    return (void *)x;
}

int main(int argc, char **argv)
{
    pthread_t threads[4];
    uint64_t sum = 0;

    iterations = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000000;
    for (uint64_t i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, work, (void *)i);
    for (int i = 0; i < 4; i++) {
        void *x;

        pthread_join(threads[i], &x);
        sum += (uint64_t)x;
    }
    printf("%llx\n", (unsigned long long)sum);
    return 0;
}
