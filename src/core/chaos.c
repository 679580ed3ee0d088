/* Chaos mode: rare interleavings shown by unfair scheduling, drawn from a seed that the recording
 * keeps. Slices from 0.1 ms to the usual length, every doubling as likely; priorities, held for a
 * while: a task that runs whenever it can, one that runs only when no other can; switches after
 * calls that would not need one.
 *
 * The same seed gives the same draws. What comes of them depends on when tasks sleep and wake, too. */
#include "record.h"

#define SHORTEST_NS 100000u
#define SWITCH_ONE_IN 16
#define PRIORITY_ONE_IN 4
/* Priorities are held for 1 ms to 1 s, every doubling as likely: short enough that whoever waits
 * for a shunned task comes to its right. */
#define HELD_NS 1000000u
#define HELD_DOUBLINGS 11

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
    chaos_draw(r, 0);
}

static uint32_t any_task(struct recorder *r)
{
    uint64_t which = next(r);

    return r->n_tasks ? r->tasks[which % r->n_tasks]->serial : 0;
}

void chaos_draw(struct recorder *r, uint64_t now_ns)
{
    unsigned doublings = 0;
    uint64_t kind;

    while ((uint64_t)SHORTEST_NS << (doublings + 1) <= r->slice_ns && doublings < 20)
        doublings++;
    r->drawn_slice_ns = (uint64_t)SHORTEST_NS << (next(r) % (doublings + 1));
    if (now_ns < r->priorities_until_ns)
        return;
    r->favoured = r->shunned = 0;
    kind = next(r) % PRIORITY_ONE_IN;
    if (kind == 0)
        r->favoured = any_task(r);
    if (kind <= 1) {
        r->shunned = any_task(r);
        r->priorities_until_ns = now_ns + ((uint64_t)HELD_NS << next(r) % HELD_DOUBLINGS);
    }
}

bool chaos_switches(struct recorder *r)
{
    return next(r) % SWITCH_ONE_IN == 0;
}

struct task *chaos_pick(struct recorder *r)
{
    struct task *shunned = NULL;
    unsigned ready = 0, which;

    for (unsigned i = 0; i < r->n_tasks; i++) {
        struct task *t = r->tasks[i];

        if (!task_runnable(t))
            continue;
        if (t->serial == r->shunned) {
            shunned = t;
            continue;
        }
        if (t->serial == r->favoured && !t->spun)
            return t;
        ready++;
    }
    if (!ready)
        return shunned;
    which = (unsigned)(next(r) % ready);
    for (unsigned i = 0; i < r->n_tasks; i++)
        if (task_runnable(r->tasks[i]) && r->tasks[i] != shunned && !which--)
            return r->tasks[i];
    return NULL;
}
