/* Settling: before a landmark is taken, the task goes on to a place where a replay can stop cheaply.
 *
 * Most places are good as they are. From others it is stepped, a few dozen instructions at most, until one is: not in
 * a repeated string instruction, whose middle no breakpoint finds again, and where a jump could be put
 * (place.c). A loop that has no such place is left after one round, and remembered.
 *
 * Whatever comes first (a system call, a fault, a group stop) is an event of its own: it waits in the task's
 * status, and no landmark is taken. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "place.h"
#include "record.h"

#define MOST_STEPS 32
/* How often what is known of a place is believed: code may be another by then. */
#define BELIEVED 64
#define FLAG_TRAP 0x100ull
#define END_SLOT 3 /* of the debug registers; spin.c has the others */

/* A signal of the task's own doing. */
static bool caused(int signo)
{
    return signo == SIGSEGV || signo == SIGBUS || signo == SIGFPE || signo == SIGILL || signo == SIGTRAP;
}

/* While a task is moved on. At a signal-delivery-stop of `signo`, the signal is taken along. */
struct move {
    struct task *t;
    int signo;
    siginfo_t info;
    uint64_t mask;
    bool begun;
    uint64_t end; /* where a byte that faults was put, 0: nowhere */
};

/* Other signals wait meanwhile, in the kernel; those that an instruction may cause do not
 * (force_sig_info_to_task in kernel/signal.c takes a blocked one's handler away). */
static int move_begin(struct move *m)
{
    const uint64_t faults = 1ull << (SIGSEGV - 1) | 1ull << (SIGBUS - 1) | 1ull << (SIGFPE - 1) |
                            1ull << (SIGILL - 1);
    uint64_t mask;
    int rc;

    if (m->begun)
        return 0;
    if (m->signo && ptrace(PTRACE_GETSIGINFO, m->t->tid, NULL, &m->info) < 0)
        return -errno;
    if (ptrace(PTRACE_GETSIGMASK, m->t->tid, (void *)sizeof m->mask, &m->mask) < 0)
        return -errno;
    if ((rc = spin_disarm(m->t)))
        return rc;
    mask = (m->mask | ~faults) & ~(1ull << (SIGTRAP - 1));
    if (ptrace(PTRACE_SETSIGMASK, m->t->tid, (void *)sizeof mask, &mask) < 0)
        return -errno;
    m->begun = true;
    return 0;
}

/* rc: 0: it has arrived; 1: another stop comes first, and the signal after it. */
static int move_end(struct move *m, int rc)
{
    struct task *t = m->t;

    if (!m->begun || rc < 0)
        return rc;
    if (ptrace(PTRACE_SETSIGMASK, t->tid, (void *)sizeof m->mask, &m->mask) < 0)
        return -errno;
    if (!m->signo)
        return rc;
    if (rc) {
        struct stashed_signal late = {.signo = m->signo};

        memcpy(late.info, &m->info, sizeof late.info);
        return (rc = stash_put_back(&t->stash, &late)) ? rc : 1;
    }
    return ptrace(PTRACE_SETSIGINFO, t->tid, NULL, &m->info) < 0 ? -errno : 0;
}

static int comes_first(struct task *t, int status)
{
    t->status = status;
    t->has_status = true;
    t->state = RUN_RUNNING;
    return 1;
}

static bool at_end(const struct move *m, const siginfo_t *info)
{
    uint64_t rip;

    return m->end && info->si_signo == SIGSEGV && info->si_code == SI_KERNEL &&
           !reg_peek(m->t->tid, R_RIP, &rip) && rip == m->end;
}

/* Until the trap that ends a step, or that of the breakpoint in END_SLOT, or the fault at m->end: 0.
 * 1: another stop comes first. */
static int move_on(struct move *m, int request)
{
    struct task *t = m->t;
    int rc, status;

    for (;;) {
        int signo;
        siginfo_t info;

        if ((rc = task_resume(t->tid, request, 0)))
            return rc;
        if ((rc = wait_for(t->tid, 0, &status)) < 0)
            return rc;
        if (!WIFSTOPPED(status) || status >> 16 == PTRACE_EVENT_EXIT) {
            t->status = status;
            t->has_status = true;
            return -ESRCH;
        }
        signo = WSTOPSIG(status);
        if (status >> 16 || signo == (SIGTRAP | 0x80))
            return comes_first(t, status);
        if (ptrace(PTRACE_GETSIGINFO, t->tid, NULL, &info) < 0)
            return -errno;
        if (signo == SIGTRAP && (info.si_code == TRAP_TRACE || info.si_code == TRAP_HWBKPT)) {
            if (request == PTRACE_SINGLESTEP || hw_break_hits(t->tid) & 1u << END_SLOT)
                return 0;
            continue; /* of a breakpoint that has gone */
        }
        if (at_end(m, &info))
            return 0;
        if (caused(signo) && info.si_code > 0)
            return comes_first(t, status);
        if ((rc = stash_add(&t->stash, t->tid, signo)))
            return rc;
    }
}

/* By a privileged instruction, written over the code for the time being. -EIO where that can't be done. */
static int run_to_fault(struct move *m, uint64_t address)
{
    const uint8_t hlt = 0xf4;
    uint8_t original;
    int rc, back;

    if (mem_read(&m->t->mem, address, &original, 1) || mem_write(&m->t->mem, address, &hlt, 1))
        return -EIO;
    m->end = address;
    rc = move_on(m, PTRACE_CONT);
    m->end = 0;
    back = mem_write(&m->t->mem, address, &original, 1);
    return rc < 0 || !back ? rc : back;
}

static int run_to(struct move *m, uint64_t address)
{
    int rc, clear;

    /* a trap would take away that SIGTRAP is ignored */
    if (spin_trap_ignored(m->t) && (rc = run_to_fault(m, address)) != -EIO)
        return rc;
    if ((rc = hw_break(m->t->tid, END_SLOT, address)) || (rc = move_on(m, PTRACE_CONT)) < 0)
        return rc;
    clear = hw_break(m->t->tid, END_SLOT, 0);
    return clear ? clear : rc;
}

/* ---- what is known of places ---- */

/* wanted: what would do. seen: where the task has come by, and the best grade among them. */
struct search {
    enum place_grade wanted, best;
    uint64_t seen[MOST_STEPS + 1];
    unsigned n;
};

static struct known_place *known(struct recorder *r, const struct task *t, uint64_t address)
{
    uint64_t hash = (address ^ (uint64_t)t->mm->id << 48) * 0x9e3779b97f4a7c15ull;

    return &r->places[hash >> 32 & (KNOWN_PLACES - 1)];
}

/* The grade that can be hoped for from there. */
static enum place_grade hope(struct recorder *r, const struct task *t, uint64_t address)
{
    struct known_place *k = known(r, t, address);

    if (!k->uses || k->address != address || k->mm != t->mm->id)
        return PLACE_PATCHED;
    k->uses--;
    return (enum place_grade)k->grade;
}

static void learn(struct recorder *r, const struct task *t, const struct search *s, unsigned n)
{
    for (unsigned i = 0; i < n && s->wanted == PLACE_PATCHED; i++)
        *known(r, t, s->seen[i]) =
            (struct known_place){s->seen[i], t->mm->id, (uint8_t)s->best, BELIEVED};
}

static bool among(const uint64_t *seen, unsigned n, uint64_t address)
{
    for (unsigned i = 0; i < n; i++)
        if (seen[i] == address)
            return true;
    return false;
}

/* ---- settling ---- */

/* rc as of move_on: 0 when the task may be looked at again. */
static int moved(struct move *m, int rc, struct regs *regs)
{
    return rc ? rc : regs_get(m->t->tid, regs);
}

static bool in_agent(uint64_t address)
{
    return address >= AGENT_TEXT && address < AGENT_TEXT + AGENT_SIZE;
}

static bool calls(const uint8_t *code, const struct insn *insn)
{
    return insn->len == 2 && code[0] == 0x0f && code[1] == 0x05;
}

/* A step of what pushes the flags shows the trap flag. One of what sets them is taken for the program's
 * own stepping (is_setting_trap_flag in arch/x86/kernel/step.c), as is that into a handler: so no task stays there. */
static int step(struct move *m, const struct insn *insn, uint64_t rip)
{
    return insn->flags & INSN_FLAGS ? run_to(m, rip + insn->len) : move_on(m, PTRACE_SINGLESTEP);
}

static bool can_step(const struct task *t, const struct insn *insn, const struct regs *regs)
{
    return insn->len && !(insn->flags & INSN_UNSTEPPED) && !(regs->r[R_EFLAGS] & FLAG_TRAP) &&
           (insn->flags & INSN_FLAGS || !spin_trap_ignored(t));
}

/* Looks at a place, and whether the task should stay there: 1; or 0, or -errno. */
static int look(struct recorder *r, struct move *m, struct search *s, uint64_t rip)
{
    struct ranges *ranges = &m->t->mm->changes.ranges;
    enum place_grade grade;
    int rc;

    if (in_agent(rip))
        return 0;
    if (s->wanted == PLACE_POOR)
        return 1;
    if (!ranges->valid && (rc = ranges_read(ranges, m->t->tid)))
        return rc;
    grade = place_grade(&m->t->mem, ranges, rip);
    if (grade >= s->wanted)
        return 1;
    if (s->wanted == PLACE_PATCHED && among(s->seen, s->n, rip)) {
        learn(r, m->t, s, s->n);
        s->wanted = s->best;
        return grade >= s->wanted;
    }
    if (grade > s->best)
        s->best = grade;
    s->seen[s->n++] = rip;
    return 0;
}

static int go(struct recorder *r, struct move *m, bool stopped, struct regs *regs)
{
    struct task *t = m->t;
    struct search s = {.wanted = hope(r, t, regs->r[R_RIP])};
    int rc;

    for (unsigned steps = 0;; steps++) {
        uint8_t code[INSN_MAX];
        struct insn insn;
        uint64_t rip;
        unsigned len;

        while ((len = repeated_instruction(&t->mem, regs->r[R_RIP])))
            if ((rc = move_begin(m)) || (rc = moved(m, run_to(m, regs->r[R_RIP] + len), regs)))
                return rc;
        if (stopped)
            return 0;
        rip = regs->r[R_RIP];
        insn_decode(code, mem_read_some(&t->mem, rip, code, sizeof code), rip, &insn);
        if (calls(code, &insn))
            return (rc = move_begin(m)) ? rc : move_on(m, PTRACE_SYSCALL);
        if ((rc = look(r, m, &s, rip)))
            return rc < 0 ? rc : 0;
        if (!can_step(t, &insn, regs)) {
            learn(r, t, &s, s.n);
            return 0;
        }
        if (steps == MOST_STEPS) {
            learn(r, t, &s, s.n / 2); /* little is known of where the others lead */
            return 0;
        }
        if ((rc = move_begin(m)) || (rc = moved(m, step(m, &insn, rip), regs)))
            return rc;
        r->n_steps++;
    }
}

int settle(struct recorder *r, struct task *t, int signo, bool stopped, struct regs *regs)
{
    struct move m = {.t = t, .signo = signo};
    int rc = go(r, &m, stopped, regs);

    r->n_settled += m.begun;
    if (stopped && m.begun && rc >= 0)
        t->left_stop = true;
    return move_end(&m, rc);
}
