/* Functions that return in every way: called N times by each of THREADS threads.
 *   direct   several returns, recursion        tail     leaves by a jump to direct
 *   leaves   every third call ends in longjmp  faulty   returns a pointer that is null at times */
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#define APART __attribute__((noinline, noclone))

long total, word = 5;
static long n;

APART long direct(long thread, long number)
{
    if (number < 4)
        return thread + number;
    if (number % 2)
        return direct(thread, number / 2) + 1;
    __asm__ volatile("" ::: "memory");
    return number * 3 + thread;
}

__attribute__((naked)) APART long tail(long thread, long number)
{
    (void)thread;
    (void)number;
    __asm__("add $1, %rsi\n jmp direct");
}

APART long leaves(jmp_buf *back, long number)
{
    __asm__ volatile("" ::: "memory");
    if (number % 3 == 0)
        longjmp(*back, 1);
    return -number;
}

APART long *faulty(long number)
{
    __asm__ volatile("" ::: "memory");
    return number % 4 ? &word : NULL;
}

static void *run(void *argument)
{
    long thread = (long)argument;
    volatile long sum = 0, i;
    jmp_buf back;

    for (i = 0; i < n; i++) {
        sum += direct(thread, i);
        sum += tail(thread, i);
        if (!setjmp(back))
            sum += leaves(&back, i);
        sum += faulty(i) != NULL;
    }
    __atomic_add_fetch(&total, sum, __ATOMIC_SEQ_CST);
    return NULL;
}

int main(int argc, char **argv)
{
    long threads = argc > 1 ? atol(argv[1]) : 2;
    pthread_t ids[64];

    n = argc > 2 ? atol(argv[2]) : 100;
    for (long i = 0; i < threads; i++)
        pthread_create(&ids[i], NULL, run, (void *)i);
    for (long i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    printf("%ld\n", total);
    return 0;
}
