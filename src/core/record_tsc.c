/* The time-stamp counter as a recorded program is told it.
 *
 * Reading the real one means to allow it for this thread and to forbid it again: two writes of CR4, which
 * cost as much as a stop under a hypervisor. Between two real readings it is worked out from
 * CLOCK_MONOTONIC_RAW, which the kernel makes of the counter itself by a constant rate. */
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "record.h"

/* A real reading at least so often; the first two this far apart tell the rate to 1 in 100 000 (a clock and
 * the counter are read within a microsecond). */
#define ANCHOR_NS 100000000u

static uint64_t raw_ns(void)
{
    struct timespec ts;

    syscall(SYS_clock_gettime, CLOCK_MONOTONIC_RAW, &ts); /* the vDSO's reads the counter */
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t real_tsc(const struct recorder *r, uint64_t *ret_ns)
{
    unsigned lo, hi;

    if (r->tsc_off)
        own_tsc(1);
    *ret_ns = raw_ns();
    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    if (r->tsc_off)
        own_tsc(0);
    return (uint64_t)hi << 32 | lo;
}

uint64_t recorder_tsc(struct recorder *r)
{
    struct tsc_clock *c = &r->tsc;
    uint64_t ns = raw_ns(), now;

    if (c->rate > 0 && ns - c->last_ns < ANCHOR_NS) {
        now = c->last + (uint64_t)((double)(ns - c->last_ns) * c->rate);
    } else {
        now = real_tsc(r, &ns);
        if (!c->first_ns) {
            c->first = now;
            c->first_ns = ns;
        } else if (ns - c->first_ns >= ANCHOR_NS) {
            c->rate = (double)(now - c->first) / (double)(ns - c->first_ns);
        }
        c->last = now;
        c->last_ns = ns;
    }
    /* never backwards, and never twice the same */
    if (now <= c->told)
        now = c->told + 1;
    return c->told = now;
}
