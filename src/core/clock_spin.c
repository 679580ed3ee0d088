/* Tasks that wait for a time or for memory to change, whichever comes first: they read the time-stamp
 * counter over and over. Each reading is a stop, and so a place where a switch costs nothing to find
 * again: who waits is switched away from at once, when another can go on.
 *
 * A task waits if it comes to the same reading with the same registers, but for those that a reading changes, and
 * the same memory. What it does between two readings leads to nothing then. */
#include <string.h>

#include "landmark.h"
#include "record.h"

/* Readings with the same registers before memory is looked at, and how often it is then. */
#define READINGS 4
#define CHECK_EVERY 64
/* How often in a row a task may come to a known place without waiting there before it is forgotten. */
#define MISSES_MAX 8

static bool same_but_time(const struct regs *a, const struct regs *b)
{
    struct regs x = *a, y = *b;
    static const enum reg told[] = {R_RAX, R_RDX, R_RCX, R_EFLAGS};

    for (unsigned i = 0; i < sizeof told / sizeof *told; i++)
        x.r[told[i]] = y.r[told[i]] = 0;
    return !memcmp(&x, &y, sizeof x);
}

int clock_spin(struct recorder *r, struct task *t, const struct regs *regs, bool *ret_waits)
{
    struct clock_readings *c = &t->readings;
    bool look, known = t->mm->clock_site == regs->r[R_RIP];
    uint64_t sum;
    int rc;

    *ret_waits = false;
    if (r->n_tasks == 1)
        return 0;
    if (!same_but_time(&c->regs, regs)) {
        c->regs = *regs;
        c->times = 0;
        c->waits = false;
        c->summed = false;
        /* Having waited there before, it does so soon again. */
        if (!known || !recorder_others_ready(r, t))
            return 0;
        if (++c->misses > MISSES_MAX) {
            t->mm->clock_site = 0;
            return 0;
        }
        c->summed = true;
        return spin_digest(r, t, regs, &c->sum);
    }
    c->times++;
    if (!recorder_others_ready(r, t))
        return 0;
    look = c->summed || (c->times >= READINGS && !(c->times & (c->times - 1))) ||
           c->times % CHECK_EVERY == 0;
    if (look) {
        if ((rc = spin_digest(r, t, regs, &sum)))
            return rc;
        if (c->summed && sum == c->sum) {
            t->mm->clock_site = regs->r[R_RIP];
            c->waits = true;
            c->misses = 0;
        } else if (c->summed) {
            c->waits = false;
            if (known)
                t->mm->clock_site = 0;
        }
        c->summed = !c->summed;
        c->sum = sum;
    }
    *ret_waits = c->waits;
    return 0;
}
