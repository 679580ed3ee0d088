/* A loop of three instructions with its counter in memory. */
#include "landing.h"

static volatile uint64_t counter;

int main(int argc, char **argv)
{
    land(argc, argv, on_landing_or_end);
    __asm__ volatile("1: incq %0\n cmpq $-1, %0\n jne 1b" : "+m"(counter));
    return 1;
}
