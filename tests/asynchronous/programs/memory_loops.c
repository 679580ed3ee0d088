/* Nested loops with all their counters in memory, as an unoptimised program has them. */
#include "landing.h"

static volatile unsigned i, j, k;
static volatile uint64_t total;

int main(int argc, char **argv)
{
    land(argc, argv, on_landing);
    for (i = 0; !enough(); i++)
        for (j = 0; j < 50; j++)
            for (k = 0; k < 40; k++)
                total += 1;
    mix(total);
    say_landings();
    return 0;
}
