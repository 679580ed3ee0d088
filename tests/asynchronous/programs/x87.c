/* A loop whose state is on the x87 stack only. */
#include "landing.h"

int main(int argc, char **argv)
{
    land(argc, argv, on_landing_or_end);
    __asm__ volatile("fld1\n fldz\n1: fadd %%st(1), %%st\n jmp 1b" : : : "st");
    return 1;
}
