/* The heap grows between landings, over 600 MiB or so of what nothing was mapped in: no memory of a
 * replay's own may be in its way. Right behind the program, so that it is where a replay would like
 * to be. */
#include "landing.h"
#include <sys/personality.h>

#define STEP (4 << 20)
#define STEPS 150

int main(int argc, char **argv)
{
    volatile uint64_t *heap = sbrk(0);
    int kind = personality(0xffffffff);

    if (!(kind & ADDR_NO_RANDOMIZE)) {
        personality((unsigned long)kind | ADDR_NO_RANDOMIZE);
        execv("/proc/self/exe", argv);
        return 97;
    }
    land(argc, argv, on_landing);
    for (unsigned step = 0; !enough(); step++) {
        if (step < STEPS && sbrk(STEP) == (void *)-1)
            return 98;
        for (volatile uint64_t i = 0; i < 100000; i++)
            ;
        heap[step % STEPS * (STEP / 8)] += step;
        mix(heap[(step * 7 % STEPS <= step ? step * 7 % STEPS : 0) * (STEP / 8)]);
    }
    say_landings();
    return 0;
}
