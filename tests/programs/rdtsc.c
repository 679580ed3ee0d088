/*
 * The time-stamp counter, read in line: rdtsc and rdtscp never go back, in children and threads.
 * @link pthread
 * @also static
 */
#include "check.h"
#include <pthread.h>

static uint64_t rdtsc(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

static uint64_t rdtscp(uint32_t *ret_core)
{
    uint32_t low, high;
    __asm__ volatile("rdtscp" : "=a"(low), "=d"(high), "=c"(*ret_core));
    return (uint64_t)high << 32 | low;
}

static void *look(void *ret_value)
{
    *(uint64_t *)ret_value = rdtsc();
    return NULL;
}

int main(void)
{
    uint32_t core;
    uint64_t before = rdtsc(), now, in_thread;
    for (int i = 0; i < 1000; i++) {
        now = i % 2 ? rdtsc() : rdtscp(&core);
        CHECK(now >= before);
        before = now;
    }
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, look, &in_thread) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(in_thread >= before);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        printf("child %lu\n", (unsigned long)rdtsc());
        fflush(stdout);
        _exit(0);
    }
    reap(child, 0);
    printf("core %u before %lu thread %lu after %lu\n", core & 0xfff, (unsigned long)before,
           (unsigned long)in_thread, (unsigned long)rdtscp(&core));
    return success();
}
