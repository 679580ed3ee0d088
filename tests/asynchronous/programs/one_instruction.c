/* A loop of one instruction: no state at all but how long it has run, which nothing shows. And one
 * that only counts in a register. */
#include "landing.h"

int main(int argc, char **argv)
{
    land(argc, argv, on_landing_or_end);
    landings_wanted /= 2;
    for (;;) {
        unsigned before = landings;

        __asm__ volatile("xorl %%eax, %%eax\n1: incq %%rax\n cmpl %1, %0\n je 1b"
                         : : "m"(landings), "r"(before) : "rax", "cc");
    }
}
