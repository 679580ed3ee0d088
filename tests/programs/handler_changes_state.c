/* A handler that edits what the program resumes with: registers, flags, vector and x87 state, mask. */
#include "check.h"
#include <ucontext.h>

static void on_signal(int signal_number, siginfo_t *info, void *context)
{
    ucontext_t *state = context;
    (void)signal_number;
    (void)info;
    state->uc_mcontext.gregs[REG_RBX] += 1000;
    state->uc_mcontext.gregs[REG_EFL] |= 1; /* carry */
    memset(&state->uc_mcontext.fpregs->_xmm[3], 0x5a, 16);
    state->uc_mcontext.fpregs->mxcsr = 0x5f80; /* round up */
    state->uc_mcontext.fpregs->cwd = 0x077f;   /* x87: round down */
    sigaddset(&state->uc_sigmask, SIGUSR2);
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    for (int i = 0; i < 5; i++) {
        sigset_t none, mask;
        sigemptyset(&none);
        CHECK(sigprocmask(SIG_SETMASK, &none, NULL) == 0);
        unsigned char xmm3[16];
        uint32_t mxcsr;
        uint16_t control;
        uint64_t rbx = (uint64_t)i, carry;
        long result;
        __asm__ volatile("clc\n\tsyscall\n\tsetc %%dl\n\tmovzbq %%dl, %%rdx\n\t"
                         "movdqu %%xmm3, %[xmm]\n\tstmxcsr %[mxcsr]\n\tfnstcw %[control]\n\t"
                         : "=a"(result), "+b"(rbx), "=d"(carry), [xmm] "=m"(xmm3),
                           [mxcsr] "=m"(mxcsr), [control] "=m"(control)
                         : "0"((long)SYS_tgkill), "D"((long)getpid()), "S"(syscall(SYS_gettid)),
                           "2"((long)SIGUSR1)
                         : "rcx", "r11", "xmm3", "memory", "cc");
        CHECK(result == 0 && rbx == (uint64_t)i + 1000 && carry == 1);
        for (int at = 0; at < 16; at++)
            CHECK(xmm3[at] == 0x5a);
        CHECK((mxcsr & 0xffc0) == 0x5f80 && control == 0x077f);
        CHECK(sigprocmask(SIG_SETMASK, NULL, &mask) == 0 && sigismember(&mask, SIGUSR2));
        __asm__ volatile("ldmxcsr %0\n\tfninit" : : "m"((uint32_t){0x1f80}));
    }
    return success();
}
