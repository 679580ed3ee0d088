/*
 * int $0x80, the 32-bit gate, from a 64-bit program: the kernel's answer, a refusal or a signal,
 * but never a recorder that falls over; the numbers there are others (20 is getpid).
 */
#include "check.h"
#include <setjmp.h>

static sigjmp_buf back;

static void on_signal(int signal_number)
{
    siglongjmp(back, signal_number);
}

int main(void)
{
    CHECK(signal(SIGSEGV, on_signal) != SIG_ERR && signal(SIGSYS, on_signal) != SIG_ERR);
    CHECK(signal(SIGILL, on_signal) != SIG_ERR);
    volatile long result = 0;
    for (volatile int i = 0; i < 3; i++) {
        int raised = sigsetjmp(back, 1);
        if (raised == 0) {
            long value = 20;
            __asm__ volatile("int $0x80" : "+a"(value) : : "memory", "cc", "r8", "r9", "r10", "r11");
            result = value;
            CHECK(result == getpid() || (int)result == -ENOSYS || (int)result == -EPERM);
        } else {
            CHECK(raised == SIGSEGV || raised == SIGSYS || raised == SIGILL);
        }
    }
    return success();
}
