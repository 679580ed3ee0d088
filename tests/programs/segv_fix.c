/* A SIGSEGV handler that makes the page accessible and goes on: reads, writes, calls, threads. */
#include "check.h"
#include <ucontext.h>

static char *map;
static volatile int faults;

static void on_fault(int signal_number, siginfo_t *info, void *context)
{
    ucontext_t *state = context;
    char *page = (char *)((uintptr_t)info->si_addr & ~4095ul);
    CHECK(signal_number == SIGSEGV && info->si_code == SEGV_ACCERR);
    CHECK(page >= map && page < map + 64 * 4096);
    CHECK(state->uc_mcontext.gregs[REG_TRAPNO] == 14);
    CHECK(mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0);
    faults++;
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    map = mmap(NULL, 64 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED);
    for (int i = 0; i < 32; i++) {
        map[i * 4096 + 5] = (char)i; /* faults, is repaired, happens again */
        CHECK(faults == i + 1 && map[i * 4096 + 5] == (char)i);
    }
    for (int i = 32; i < 64; i++)
        CHECK(((volatile char *)map)[i * 4096] == 0);
    CHECK(faults == 64);
    /* memset over several protected pages: many faults in one string instruction */
    CHECK(mprotect(map, 16 * 4096, PROT_NONE) == 0);
    void *at = map;
    size_t count = 16 * 4096;
    __asm__ volatile("rep stosb" : "+D"(at), "+c"(count) : "a"('z') : "memory");
    CHECK(faults == 80 && map[16 * 4096 - 1] == 'z');
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(mprotect(map, 4096, PROT_READ) == 0);
        map[9] = 1;
        _exit(faults == 81 ? 0 : 1);
    }
    reap(child, 0);
    /* The kernel does not raise a signal for its own access. */
    CHECK(mprotect(map, 4096, PROT_NONE) == 0);
    CHECK_FAILS(getcwd(map, 4096) ? 0 : -1, EFAULT);
    CHECK(faults == 80);
    return success();
}
