/* A program that single-steps itself: the trap flag, a SIGTRAP after each instruction. */
#include "check.h"
#include <ucontext.h>

static volatile int steps;
static volatile uintptr_t first, last;

static void on_trap(int signal_number, siginfo_t *info, void *context)
{
    ucontext_t *state = context;
    CHECK(signal_number == SIGTRAP && info->si_code == TRAP_TRACE);
    uintptr_t at = (uintptr_t)state->uc_mcontext.gregs[REG_RIP];
    if (steps++ == 0)
        first = at;
    last = at;
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGTRAP, &action, NULL) == 0);
    for (int i = 0; i < 3; i++) {
        steps = 0;
        __asm__ volatile("lea -128(%%rsp), %%rsp\n\t"
                         "pushfq\n\t"
                         "orq $0x100, (%%rsp)\n\t"
                         "popfq\n\t" /* the flag takes effect after the next instruction */
                         "nop\n\tnop\n\tnop\n\t"
                         "pushfq\n\t"
                         "andq $~0x100, (%%rsp)\n\t"
                         "popfq\n\t"
                         "lea 128(%%rsp), %%rsp\n\t" : : : "memory", "cc");
        CHECK(steps == 6);
        CHECK(last > first);
    }
    return success();
}
