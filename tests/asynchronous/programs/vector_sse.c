/* A loop whose state is in SSE registers only. */
#include "landing.h"

int main(int argc, char **argv)
{
    static const uint64_t ones[2] = {1, 3};

    land(argc, argv, on_landing_or_end);
    __asm__ volatile("movdqu %0, %%xmm1\n pxor %%xmm0, %%xmm0\n1: paddq %%xmm1, %%xmm0\n jmp 1b"
                     : : "m"(ones) : "xmm0", "xmm1");
    return 1;
}
