/* The same with counters deep in the stack, far above the frame that runs. */
#include "landing.h"

struct state {
    volatile unsigned i, j;
    volatile uint64_t total;
};

static void __attribute__((noinline)) step(struct state *s)
{
    volatile char room[3000];

    room[0] = 1;
    for (s->j = 0; s->j < 60; s->j++)
        s->total += (unsigned)room[0];
}

static void __attribute__((noinline)) deeper(struct state *s, int depth)
{
    volatile char room[2000];

    room[depth] = 0;
    if (depth)
        deeper(s, depth - 1);
    else
        step(s);
    room[depth]++;
}

int main(int argc, char **argv)
{
    struct state s = {0};

    land(argc, argv, on_landing);
    for (s.i = 0; !enough(); s.i++)
        deeper(&s, 4);
    mix(s.total);
    say_landings();
    return 0;
}
