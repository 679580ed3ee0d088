/* Threads that are preempted while they change everything that an interval can: memory of their own,
 * memory shared with another process, vector registers, a stack that grows. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 400

static volatile unsigned long *shared;
static unsigned long own[3][4096];

static unsigned long deeper(int depth, unsigned long x)
{
    volatile unsigned char frame[3000];

    memset((void *)frame, (int)x, sizeof frame);
    if (depth == 0)
        return frame[x % sizeof frame];
    return deeper(depth - 1, x * 31 + 7) + frame[(x >> 3) % sizeof frame];
}

static void *work(void *arg)
{
    unsigned long n = (unsigned long)arg, sum = n;
    double d = 1.0 + (double)n;

    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < 4096; i++) {
            own[n][i] += sum ^ (unsigned long)i;
            d = d * 1.0000001 + (double)own[n][i] * 1e-30;
            shared[i % 512] += n + 1;
        }
        sum += deeper(round % 40, sum) + (unsigned long)d;
    }
    return (void *)sum;
}

int main(void)
{
    pthread_t threads[2];
    unsigned long total = 0;
    int status = 1;
    pid_t child;

    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    if ((child = fork()) == 0) {
        total = (unsigned long)work((void *)2ul);
        printf("child %lx\n", total);
        fflush(stdout);
        _exit(0);
    }
    for (unsigned long i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)i))
            return 1;
    for (int i = 0; i < 2; i++) {
        void *sum;

        pthread_join(threads[i], &sum);
        total += (unsigned long)sum;
    }
    waitpid(child, &status, 0);
    printf("%lx\n", total);
    for (int i = 0; i < 512; i++)
        total += shared[i];
    printf("%lx\n", total);
    return status;
}
