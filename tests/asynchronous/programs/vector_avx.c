/* A loop whose state is in the upper halves of AVX registers only. */
#include "landing.h"

int main(int argc, char **argv)
{
    static const uint64_t ones[4] = {0, 0, 1, 3};

    if (!__builtin_cpu_supports("avx2")) {
        puts("no AVX2");
        return 77;
    }
    land(argc, argv, on_landing_or_end);
    __asm__ volatile("vmovdqu %0, %%ymm1\n vpxor %%ymm9, %%ymm9, %%ymm9\n"
                     "1: vpaddq %%ymm1, %%ymm9, %%ymm9\n jmp 1b"
                     : : "m"(ones) : "xmm9", "xmm1");
    return 1;
}
