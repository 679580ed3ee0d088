/* Chaos mode: rare interleavings shown by unfair scheduling. Slices from 0.2 ms to
 * the usual length, drawn so that every order of magnitude is as likely; a task favoured
 * for a while, which starves others; switches after calls that would not need one. */
#include "record.h"

#define SHORTEST_NS 200000u
#define SWITCH_ONE_IN 16
#define FAVOUR_ONE_IN 4

/* xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators"). */
static uint64_t next(struct recorder *r)
{
    r->random ^= r->random >> 12;
    r->random ^= r->random << 25;
    r->random ^= r->random >> 27;
    return r->random * 0x2545f4914f6cdd1dull;
}

void chaos_start(struct recorder *r, uint64_t seed)
{
    r->chaos = true;
    r->random = seed ? seed : 1;
    chaos_draw(r);
}

void chaos_draw(struct recorder *r)
{
    unsigned doublings = 0;

    while (SHORTEST_NS << (doublings + 1) <= r->slice_ns && doublings < 20)
        doublings++;
    r->drawn_slice_ns = (uint64_t)SHORTEST_NS << (next(r) % (doublings + 1));
    r->favoured = 0;
    if (r->n_tasks && next(r) % FAVOUR_ONE_IN == 0)
        r->favoured = r->tasks[next(r) % r->n_tasks]->serial;
}

bool chaos_switches(struct recorder *r)
{
    return next(r) % SWITCH_ONE_IN == 0;
}

struct task *chaos_pick(struct recorder *r)
{
    unsigned ready = 0, which;

    for (unsigned i = 0; i < r->n_tasks; i++) {
        if (!task_runnable(r->tasks[i]))
            continue;
        if (r->tasks[i]->serial == r->favoured)
            return r->tasks[i];
        ready++;
    }
    if (!ready)
        return NULL;
    which = (unsigned)(next(r) % ready);
    for (unsigned i = 0; i < r->n_tasks; i++)
        if (task_runnable(r->tasks[i]) && !which--)
            return r->tasks[i];
    return NULL;
}
