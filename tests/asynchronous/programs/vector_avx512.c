/* Loops whose state is in AVX-512 registers 16 to 31, and in mask registers, only. */
#include "landing.h"
#include <setjmp.h>

static sigjmp_buf again;

static void on_half(int signo, siginfo_t *info, void *context)
{
    on_landing(signo, info, context);
    if (landings == landings_wanted / 2)
        siglongjmp(again, 1);
    landed_last();
}

int main(int argc, char **argv)
{
    static const uint64_t ones[8] = {0, 0, 0, 0, 0, 0, 1, 3};

    if (!__builtin_cpu_supports("avx512bw")) {
        puts("no AVX-512");
        return 77;
    }
    land(argc, argv, on_half);
    if (!sigsetjmp(again, 1))
        __asm__ volatile("vmovdqu64 %0, %%zmm17\n vpxorq %%zmm16, %%zmm16, %%zmm16\n"
                         "1: vpaddq %%zmm17, %%zmm16, %%zmm16\n jmp 1b"
                         : : "m"(ones));
    __asm__ volatile("movl $1, %%eax\n kmovq %%rax, %%k2\n xorl %%eax, %%eax\n kmovq %%rax, %%k1\n"
                     "1: kaddq %%k2, %%k1, %%k1\n jmp 1b" : : : "rax");
    return 1;
}
