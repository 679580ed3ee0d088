/* Finding an asynchronous event again: the recorded instruction pointer is armed, and at each hit
 * the registers, then the memory sample and the extended state decide. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "landmark.h"
#include "replay.h"

/* si_code of an int3, which is the program's own affair. Those of debug exceptions vary: a
 * sticky single-step bit in DR6 makes TRAP_TRACE of TRAP_HWBKPT. */
/* Flags that tracing itself changes: trap and resume. */
#define EFLAGS_TRACING 0x10100ull

static bool same_regs(const struct rtask *t, const struct regs *now)
{
    for (unsigned i = 0; i < EV_NREGS; i++) {
        uint64_t mask = i == R_EFLAGS ? ~EFLAGS_TRACING : ~0ull;

        /* the number of the last call is the kernel's, and stale */
        if (i != R_ORIG_RAX && ((t->base.regs[i] ^ now->r[i]) & mask))
            return false;
    }
    return true;
}

static bool is_hit(int tid, int status)
{
    siginfo_t info;

    return WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP && !(status >> 16) &&
           ptrace(PTRACE_GETSIGINFO, tid, NULL, &info) == 0 && info.si_code != SI_KERNEL;
}

/* Refinement: words that told a candidate from the event before, with the values they have at the event. They are
 * looked at first: they are a program's loop counters and the like. */
#define TELLING_MAX 64
#define TELLING_PER_ROUND 6

struct telling {
    struct sample_word words[TELLING_MAX];
    unsigned n, rounds;
};

/* One candidate: registers are equal. */
static int whole_state(struct replayer *p, struct rtask *t, struct telling *w, int *ret_same)
{
    unsigned n, max = TELLING_MAX - w->n;
    int xstate, rc;

    *ret_same = 0;
    for (unsigned i = 0; i < w->n; i++) {
        uint64_t now;

        if (mem_read(&t->mem, w->words[i].addr, &now, 8) || now != w->words[i].value)
            return 0;
    }
    if (max > TELLING_PER_ROUND)
        max = TELLING_PER_ROUND;
    rc = landmark_compare(t->tid, &t->mem, p->event.out, p->event.out_len, max,
                          w->words + w->n, &n, ret_same, &xstate);
    if (!rc && !*ret_same) {
        w->n += n;
        w->rounds++;
    }
    return rc;
}

static int search(struct replayer *p, struct rtask *t, uint64_t *hits, uint64_t *candidates,
                  int *ret_status)
{
    struct telling telling = {.n = 0};

    for (;;) {
        struct regs now;
        int rc, same;

        if ((rc = replay_advance(p, t, ret_status)))
            return rc;
        if (!is_hit(t->tid, *ret_status))
            return 1;
        (*hits)++;
        if ((rc = regs_get(t->tid, &now)))
            return rc;
        if (now.r[R_RIP] != t->base.regs[R_RIP])
            return 1;
        if (!same_regs(t, &now))
            continue;
        (*candidates)++;
        if ((rc = whole_state(p, t, &telling, &same)))
            return rc;
        p->refinements = telling.rounds;
        if (same)
            return 0;
    }
}

/* 0: the task is at the landmark; 1: it overshot, *ret_status tells its stop; -errno. */
int replay_search(struct replayer *p, struct rtask *t, uint64_t *ret_hits,
                  uint64_t *ret_candidates, uint64_t *ret_refinements, int *ret_status)
{
    int rc, end;

    *ret_status = 0;
    *ret_hits = *ret_candidates = 0;
    p->refinements = 0;
    if ((rc = hw_break(t->tid, 0, t->base.regs[R_RIP])))
        return rc;
    rc = search(p, t, ret_hits, ret_candidates, ret_status);
    *ret_refinements = p->refinements;
    if (rc >= 0 && WIFSTOPPED(*ret_status) && (end = hw_break(t->tid, 0, 0)))
        return end;
    return rc;
}
