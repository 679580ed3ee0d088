/* A stack with everything on it: a signal handler, a call through the PLT, a callback from libc,
 * inlined functions, recursion, a large frame, alloca. Stops in `bottom`. */
#include <alloca.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

volatile int sink;

__attribute__((noinline)) void bottom(void)
{
    sink++;
    for (;;)
        pause();
}

static void handler(int signo)
{
    sink += signo;
    bottom();
    sink++;
}

__attribute__((noinline)) static int compare(const void *a, const void *b)
{
    raise(SIGUSR1);
    return *(const int *)a - *(const int *)b;
}

static inline __attribute__((always_inline)) int inlined(int n)
{
    int numbers[2] = {n, 3};

    qsort(numbers, 2, sizeof *numbers, compare);
    return numbers[0];
}

__attribute__((noinline)) int recursive(int n)
{
    char large[5000];

    memset(large, n, sizeof large);
    sink += large[17];
    return n ? recursive(n - 1) + 1 : inlined(n) + large[9];
}

__attribute__((noinline)) int dynamic(int n)
{
    char *memory = alloca((size_t)(100 * n));

    memset(memory, 1, (size_t)(100 * n));
    return recursive(3) + memory[n];
}

int main(void)
{
    static char stack[65536];
    stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};

    sigaltstack(&other, NULL);
    sigaction(SIGUSR1, &action, NULL);
    printf("ready\n");
    fflush(stdout);
    return dynamic(5);
}
