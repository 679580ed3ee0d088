/* Finding an asynchronous event again: the recorded instruction pointer is armed, and at each hit
 * the registers, then the memory sample and the extended state decide. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "landmark.h"
#include "replay.h"

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

/* SI_KERNEL is the si_code of an int3, which is the program's own affair. Those of debug exceptions
 * vary: a sticky single-step bit in DR6 makes TRAP_TRACE of TRAP_HWBKPT. */
static bool is_hit(int tid, int status)
{
    siginfo_t info;

    return WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP && !(status >> 16) &&
           ptrace(PTRACE_GETSIGINFO, tid, NULL, &info) == 0 && info.si_code != SI_KERNEL;
}

/* The words that refinement found telling have their recorded values; they are looked at first: they are a
 * program's loop counters and the like. */
static bool same_words(const struct rtask *t, const struct sample_word *words, unsigned n_words)
{
    for (unsigned i = 0; i < n_words; i++) {
        uint64_t now;

        if (mem_read(&t->mem, words[i].addr, &now, 8) || now != words[i].value)
            return false;
    }
    return true;
}

/* Runs the task from hit to hit of the address that is armed (hw_break). */
int replay_search(struct replayer *p, struct rtask *t, const struct search *s, uint64_t *ret_hits,
                  int *ret_status)
{
    *ret_hits = 0;
    for (;;) {
        struct regs now;
        int rc;

        if ((rc = replay_advance(p, t, ret_status)))
            return rc;
        if (!is_hit(t->tid, *ret_status))
            return SEARCH_STOP;
        if ((rc = regs_get(t->tid, &now)))
            return rc;
        if (now.r[R_RIP] != t->base.regs[R_RIP])
            return SEARCH_STOP;
        (*ret_hits)++;
        if (s->compare && same_regs(t, &now) && same_words(t, s->words, s->n_words))
            return SEARCH_CANDIDATE;
        if (*ret_hits == s->limit)
            return SEARCH_LIMIT;
    }
}
