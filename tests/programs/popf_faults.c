/* popf that faults: nothing of how its signal is watched may get into the frame, or it traps later. */
#include "check.h"
#include <sys/mman.h>
#include <ucontext.h>

#define TRAP_FLAG 0x100

static volatile int faults;
static volatile uintptr_t good;

static void on_fault(int signo, siginfo_t *info, void *context)
{
    ucontext_t *state = context;

    (void)info;
    CHECK(signo == SIGSEGV || signo == SIGBUS);
    CHECK(!(state->uc_mcontext.gregs[REG_EFL] & TRAP_FLAG));
    state->uc_mcontext.gregs[REG_RSP] = (greg_t)good;
    faults++;
}

static void on_trap(int signo)
{
    (void)signo;
    CHECK(!"a trap that is none of the program's");
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    static char stack[65536];
    stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    char *nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(nowhere != MAP_FAILED);
    CHECK(sigaltstack(&other, NULL) == 0);
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    CHECK(sigaction(SIGBUS, &action, NULL) == 0);
    CHECK(signal(SIGTRAP, on_trap) != SIG_ERR);
    for (int i = 0; i < 3; i++)
        __asm__ volatile("mov %%rsp, %%rbx\n\t"
                         "lea -128(%%rsp), %%rsp\n\t"
                         "pushfq\n\t"
                         "mov %%rsp, %0\n\t"
                         "mov %1, %%rsp\n\t"
                         "popfq\n\t" /* again from the good stack */
                         "mov %%rbx, %%rsp\n\t"
                         "nop\n\tnop\n\t"
                         : "=m"(good) : "r"(nowhere + 2048) : "rbx", "memory", "cc");
    CHECK(faults == 3);
    return success();
}
