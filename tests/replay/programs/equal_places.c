/* Places that are equal in all that a landmark holds: the loop that is interrupted is the same each
 * time it is entered, and how often that was is told by a counter at the end of a chain of pointers,
 * in memory too large to be looked at as a whole. The handler prints it. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#define LENGTH 12
#define STRIDE (1 << 20)

static void **chain;
static volatile int landings;

static unsigned *counter(void)
{
    void **at = chain;

    for (int i = 0; i < LENGTH; i++)
        at = *at;
    return (unsigned *)at;
}

static void on_alarm(int signo)
{
    char text[32];

    (void)signo;
    landings++;
    if (write(1, text, (size_t)snprintf(text, sizeof text, "%u\n", *counter())) < 0)
        _exit(1);
}

/* Leaves no trace of what there was before it, in registers or on the stack. */
static void __attribute__((noinline)) same_each_time(void)
{
    for (unsigned i = 0; i < 1000000; i++)
        __asm__ volatile("");
    __asm__ volatile("" ::: "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11",
                     "r12", "r13", "r14", "r15", "memory");
}

int main(int argc, char **argv)
{
    int wanted = argc > 1 ? atoi(argv[1]) : 5;
    const struct itimerval every = {{0, 4000}, {0, 4000}};
    char *arena = mmap(NULL, (LENGTH + 2) * STRIDE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (arena == MAP_FAILED)
        return 1;
    chain = (void **)arena;
    for (int i = 0; i < LENGTH; i++)
        *(void **)(arena + i * STRIDE) = arena + (i + 1) * STRIDE;
    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &every, NULL);
    while (landings < wanted) {
        same_each_time();
        ++*counter();
        __asm__ volatile("xor %%eax, %%eax; xor %%edx, %%edx; xor %%ecx, %%ecx; xor %%esi, %%esi"
                         ::: "eax", "edx", "ecx", "esi");
    }
    return 0;
}
