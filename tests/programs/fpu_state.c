/*
 * Vector and x87 registers, MXCSR and flags survive system calls, signals, switches of thread.
 * @link pthread
 */
#include "check.h"
#include <pthread.h>

static volatile double sink;
static volatile int handled;

static void on_signal(int signal_number)
{
    /* Trample on everything a handler may. */
    double value = signal_number;
    for (int i = 0; i < 10; i++)
        value = value * 1.5 + 3;
    sink = value;
    __asm__ volatile("pxor %%xmm0, %%xmm0\n\tpxor %%xmm7, %%xmm7\n\tpxor %%xmm15, %%xmm15\n\t"
                     "fninit" : : : "xmm0", "xmm7", "xmm15");
    handled++;
}

struct state {
    unsigned char xmm[3][16];
    double x87;
    uint32_t mxcsr;
};

/* Load registers, make the system call (getpid, tgkill, sched_yield), store them again. */
static void round_trip(long number, long first, long second, long third, struct state *state)
{
    long result;
    __asm__ volatile("movdqu 0(%[s]), %%xmm0\n\t"
                     "movdqu 16(%[s]), %%xmm7\n\t"
                     "movdqu 32(%[s]), %%xmm15\n\t"
                     "ldmxcsr 56(%[s])\n\t"
                     "fldl 48(%[s])\n\t"
                     "syscall\n\t"
                     "fstpl 48(%[s])\n\t"
                     "stmxcsr 56(%[s])\n\t"
                     "movdqu %%xmm0, 0(%[s])\n\t"
                     "movdqu %%xmm7, 16(%[s])\n\t"
                     "movdqu %%xmm15, 32(%[s])\n\t"
                     : "=a"(result)
                     : "0"(number), "D"(first), "S"(second), "d"(third), [s] "b"(state)
                     : "rcx", "r11", "memory", "xmm0", "xmm7", "xmm15", "st");
    CHECK(result >= 0);
}

static void *work(void *seed)
{
    for (int i = 0; i < 100; i++) {
        struct state state, before;
        memset(&state, 0, sizeof state);
        memset(state.xmm, (int)(long)seed + i, sizeof state.xmm);
        state.x87 = 1.25 * i + (double)(long)seed;
        state.mxcsr = i % 2 ? 0x1f80 : 0x3f80; /* round to nearest, round down */
        before = state;
        if (i % 3 == 0)
            round_trip(SYS_getpid, 0, 0, 0, &state);
        else if (i % 3 == 1)
            round_trip(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1, &state);
        else
            round_trip(SYS_sched_yield, 0, 0, 0, &state);
        state.mxcsr &= ~0x3fu; /* sticky exception flags are nobody's promise */
        CHECK(memcmp(&state, &before, sizeof state) == 0);
        __asm__ volatile("ldmxcsr %0" : : "m"((uint32_t){0x1f80}));
    }
    return NULL;
}

int main(void)
{
    CHECK(offsetof(struct state, x87) == 48 && offsetof(struct state, mxcsr) == 56);
    CHECK(signal(SIGUSR1, on_signal) != SIG_ERR);
    pthread_t threads[3];
    for (long i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, work, (void *)(i * 50)) == 0);
    for (int i = 0; i < 3; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(handled == 99);
    return success();
}
