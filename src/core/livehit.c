/* A task stopped by SIGTRAP: whose trap it is, what the conditions say, and how
 * the task gets past the breakpoint. */
#define _GNU_SOURCE
#include "live.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

#define INT3 0xcc
#define FLAG_TRAP 0x100

static void general_registers(const struct regs *r, uint64_t to[16])
{
    static const uint8_t which[16] = {
        R_R15, R_R14, R_R13, R_R12, R_RBP, R_RBX, R_R11, R_R10,
        R_R9,  R_R8,  R_RAX, R_RCX, R_RDX, R_RSI, R_RDI, R_RSP,
    };

    for (unsigned i = 0; i < 16; i++)
        to[i] = r->r[which[i]];
}

/* A hit was counted, and a signal comes before the instruction is executed. */
void again_add(struct task *t, uint64_t addr, const struct regs *r)
{
    if (t->n_again == AGAIN_MAX)
        memmove(t->again, t->again + 1, --t->n_again * sizeof *t->again);
    t->again[t->n_again].addr = addr;
    general_registers(r, t->again[t->n_again++].regs);
}

static bool again_take(struct task *t, uint64_t addr, const struct regs *r)
{
    uint64_t now[16];

    general_registers(r, now);
    for (unsigned i = t->n_again; i-- > 0;) {
        if (t->again[i].addr != addr || memcmp(t->again[i].regs, now, sizeof now) != 0)
            continue;
        t->n_again = i; /* those above were left for good */
        return true;
    }
    return false;
}

/* A task about to see a signal must not see that it executes a copy. */
int fix_rip(struct live *l, struct task *t)
{
    const struct space *s = t->space;
    const struct patch *p;
    struct regs r;
    uint64_t rip, addr;
    int rc;

    (void)l;
    if (!s->slot_high)
        return 0;
    rc = reg_peek(t->tid, R_RIP, &rip);
    if (rc)
        return rc;
    p = patch_of_slot(s, rip, &addr);
    if (!p)
        return 0;
    rc = regs_get(t->tid, &r);
    if (!rc && addr == p->addr)
        again_add(t, addr, &r);
    return rc ? rc : reg_poke(t->tid, R_RIP, addr);
}

/* -- conditions */

static int ring_add(struct live *l, const struct site *site, const struct task *t,
                    const struct regs *r)
{
    struct live_record head = {site->id, (uint32_t)t->tid, site->hits, site->n_collect, 0};
    const struct cond_memory m = {t->tid, &t->space->overlay};
    size_t need = sizeof head + 8 * site->n_collect;
    uint8_t *at;

    if (l->ring_len + need > l->ring_cap)
        return -ENOSPC; /* does not happen: it is drained long before */
    at = l->ring + l->ring_len;
    for (unsigned i = 0; i < site->n_collect; i++) {
        uint64_t value = 0, fault;

        if (cond_value(site->collect[i], r->r, site->hits, &m, &value, &fault)) {
            head.invalid |= 1u << i;
            value = 0;
        }
        memcpy(at + sizeof head + 8 * i, &value, sizeof value);
    }
    memcpy(at, &head, sizeof head);
    l->ring_len += need;
    return 0;
}

static int decide(struct live *l, struct task *t, struct site *site, const struct regs *r)
{
    const struct cond_memory m = {t->tid, &t->space->overlay};
    struct live_hit *hit = &l->event->hits[l->event->n_hits];
    uint64_t value = 1, fault = 0;
    int rc = 0;

    site->hits++;
    if (site->when)
        rc = cond_value(site->when, r->r, site->hits, &m, &value, &fault);
    if (rc == -ESRCH)
        return rc;
    if (!rc && !value) {
        site->rejected++;
        return 0;
    }
    if (rc) {
        site->undecided++;
    } else {
        site->candidates++;
        if (site->n_collect && (rc = ring_add(l, site, t, r)))
            return rc;
        if (!site->reports || site->candidates < site->stop_at)
            return 0;
    }
    hit->site = site->id;
    hit->outcome = rc ? UNDECIDED : MATCH;
    hit->hits = site->hits;
    hit->candidates = site->candidates;
    hit->why = -rc;
    hit->fault = fault;
    l->event->n_hits++;
    return 0;
}

static int report(struct live *l, struct task *t, uint64_t addr)
{
    l->event->kind = LIVE_HIT;
    l->event->tid = t->tid;
    l->event->tgid = t->tgid;
    l->event->space = t->space->id;
    l->event->addr = addr;
    t->state = TASK_HELD;
    return 1;
}

/* -- past a breakpoint */

/* Repeated string instructions stop after each iteration when stepped. */
static bool is_repeated(const struct patch *p)
{
    unsigned i = 0;
    bool repeat = false;

    for (; i < sizeof p->code; i++) {
        uint8_t b = p->code[i];

        if (b == 0xf2 || b == 0xf3)
            repeat = true;
        else if (b != 0x66 && b != 0x67 && b != 0x2e && b != 0x3e && b != 0x26 && b != 0x36 &&
                 b != 0x64 && b != 0x65 && (b & 0xf0) != 0x40)
            break;
    }
    return repeat && i < sizeof p->code &&
           ((p->code[i] >= 0xa4 && p->code[i] <= 0xa7) || (p->code[i] >= 0xaa && p->code[i] <= 0xaf) ||
            (p->code[i] >= 0x6c && p->code[i] <= 0x6f));
}

static int step_in_place(struct live *l, struct task *t, struct patch *p)
{
    const uint8_t int3 = INT3;
    struct space *s = t->space;
    uint64_t addr = p->addr, rip = addr;
    bool repeated = is_repeated(p);
    int rc, stepped = 0;
    struct regs r;

    t->state = TASK_PAUSED; /* so that it is not stopped once more */
    rc = tasks_pause(l, s);
    if (rc)
        return rc;
    rc = mem_write(&s->mem, addr, &p->original, 1);
    if (!rc) {
        do {
            stepped = task_step(l, t);
            if (!stepped && reg_peek(t->tid, R_RIP, &rip))
                break;
        } while (!stepped && repeated && rip == addr);
        rc = mem_write(&s->mem, addr, &int3, 1);
        if (rc == -ESRCH || rc == -EFAULT)
            rc = 0; /* executed, ended, unmapped */
        if (stepped < 0)
            rc = stepped;
    }
    t->state = TASK_HELD; /* it goes on by itself */
    tasks_unpause(l, s);
    if (rc)
        return rc;
    if (stepped) {
        if (!t->has_pending) {
            t->state = TASK_RUNNING; /* killed */
            return 0;
        }
        t->state = TASK_PAUSED; /* its status waits its turn */
        if (WIFSTOPPED(t->pending) && !(t->pending >> 16) && !reg_peek(t->tid, R_RIP, &rip) &&
            rip == addr && !regs_get(t->tid, &r))
            again_add(t, addr, &r); /* a fault */
        return 0;
    }
    if (s->n_hw) {
        /* a watchpoint that the step triggered is told together with it, in DR6 only */
        t->stepped = true;
        task_set_pending(l, t, SIGTRAP << 8 | 0x7f);
        return 0;
    }
    return task_go(l, t, 0);
}

/* A syscall instruction: the task makes the call at another one and, as soon as
 * it is inside, is told that it came from here. */
static int make_call(struct live *l, struct task *t, const struct patch *p, struct regs *r)
{
    uint64_t addr = p->addr;
    bool rejoin = false;
    int status, rc;

    if (l->frozen) { /* the call may take any time: when the pause ends */
        t->at_patch = addr;
        t->resume_signo = 0;
        t->state = TASK_PAUSED;
        return reg_poke(t->tid, R_RIP, addr);
    }
    r->r[R_RIP] = t->space->gadget;
    rc = regs_set(t->tid, r);
    if (rc)
        return rc;
    for (;;) {
        rc = task_resume(t->tid, PTRACE_SYSCALL, 0);
        if (rc && rc != -ESRCH)
            return rc;
        rc = task_wait(t, &status);
        if (rc == -ESRCH) {
            t->state = TASK_RUNNING; /* its end is told in time */
            return 0;
        }
        if (rc < 0)
            return rc;
        if (WIFSTOPPED(status) && WSTOPSIG(status) == (SIGTRAP | 0x80))
            break;
        if (event_stop(status)) {
            t->interrupting = false;
            rejoin = rejoin || WSTOPSIG(status) != SIGTRAP;
            continue;
        }
        if (WIFSTOPPED(status) && !(status >> 16)) {
            /* a signal comes first: it finds the task before the instruction */
            again_add(t, addr, r);
            rc = reg_poke(t->tid, R_RIP, addr);
            if (rc)
                return rc;
        }
        task_set_pending(l, t, status);
        return 0;
    }
    rc = reg_poke(t->tid, R_RIP, addr + 2);
    if (!rc)
        rc = reg_poke(t->tid, R_RCX, addr + 2); /* what the instruction leaves there */
    t->signal_stop = false;
    if (rejoin && ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL) == 0)
        t->interrupting = true;
    return rc ? rc : task_go(l, t, 0);
}

/* Lets a task execute the instruction under an int3. Its registers are *r, with
 * rip at the instruction; the processor's rip may be one byte further. */
int task_pass(struct live *l, struct task *t, struct patch *p, struct regs *r)
{
    enum past past = p->past;
    int rc, only_rip;

    if ((p->touches_memory && t->space->n_watch) || (r->r[R_EFLAGS] & FLAG_TRAP))
        past = past == PAST_EMULATE ? p->otherwise : past;
    if (past == PAST_EMULATE) {
        rc = emu_run(&p->emu, t->tid, p->addr, r, &only_rip);
        if (rc == 0) {
            rc = only_rip ? reg_poke(t->tid, R_RIP, r->r[R_RIP]) : regs_set(t->tid, r);
            return rc ? rc : task_go(l, t, 0);
        }
        past = p->otherwise; /* it is going to fault, or as odd: the processor does it */
    }
    if (past == PAST_SLOT && (r->r[R_EFLAGS] & FLAG_TRAP))
        past = PAST_STEP;
    if (past == PAST_SLOT) {
        rc = reg_poke(t->tid, R_RIP, p->slot);
        return rc ? rc : task_go(l, t, 0);
    }
    if (past == PAST_CALL)
        return make_call(l, t, p, r);
    rc = reg_poke(t->tid, R_RIP, p->addr);
    return rc ? rc : step_in_place(l, t, p);
}

/* -- whose trap */

bool in_foreign_range(const struct live *l, uint64_t addr)
{
    for (size_t i = 0; i < l->n_ranges; i++)
        if (addr >= l->ranges[i].low && addr < l->ranges[i].high)
            return true;
    return false;
}

static int on_int3(struct live *l, struct task *t)
{
    struct space *s = t->space;
    struct patch *p;
    struct regs r;
    uint64_t addr;
    uint8_t now;
    int rc = regs_get(t->tid, &r);

    if (rc)
        return rc;
    addr = r.r[R_RIP] - 1;
    p = patch_find(s, addr);
    if (!p) {
        for (size_t i = 0; i < l->n_traps; i++)
            if (l->traps[i] == addr) {
                l->event->addr = addr;
                return 2;
            }
        if (in_foreign_range(l, addr)) {
            l->event->addr = addr;
            return 2;
        }
        /* an int3 of ours that was taken away between its execution and now */
        if (patch_was(s, addr) && mem_read(&s->mem, addr, &now, 1) == 0 && now != INT3) {
            rc = reg_poke(t->tid, R_RIP, addr);
            return rc ? rc : task_go(l, t, 0);
        }
        return 3;
    }
    r.r[R_RIP] = addr;
    live_follow_core(l, t->tid);
    if (t->n_again && again_take(t, addr, &r))
        return task_pass(l, t, p, &r);
    l->event->n_hits = 0;
    for (struct site *site = p->sites; site; site = site->next) {
        rc = decide(l, t, site, &r);
        if (rc)
            return rc;
    }
    if (!l->event->n_hits)
        return task_pass(l, t, p, &r);
    rc = reg_poke(t->tid, R_RIP, addr);
    if (rc)
        return rc;
    t->at_patch = addr;
    return report(l, t, addr);
}

static int debug_status(const struct task *t, uint64_t *ret)
{
    size_t at = offsetof(struct user, u_debugreg) + 8 * 6;

    errno = 0;
    *ret = (uint64_t)ptrace(PTRACE_PEEKUSER, t->tid, (void *)at, NULL);
    if (errno)
        return -errno;
    if (*ret & 15 && ptrace(PTRACE_POKEUSER, t->tid, (void *)at, (void *)0) < 0)
        return -errno;
    return 0;
}

/* fault: the kernel says that it is a debug register's. Where these watch code only, the address
 * says which, without asking for DR6 and clearing it: two calls of six that a hit takes. */
static int on_hw(struct live *l, struct task *t, bool fault)
{
    struct space *s = t->space;
    uint64_t fired = ~0ull, addr = 0;
    struct regs r;
    int rc = fault && !s->n_watch ? 0 : debug_status(t, &fired);

    if (!rc)
        rc = fix_rip(l, t);
    if (!rc)
        rc = regs_get(t->tid, &r);
    if (rc)
        return rc;
    l->event->n_hits = 0;
    live_follow_core(l, t->tid);
    for (unsigned i = 0; i < HW_SLOTS; i++) {
        struct site *site = s->hw[i];

        if (!site || !(fired & 1ull << i))
            continue;
        if (site->kind == SITE_HW && r.r[R_RIP] != site->addr)
            continue; /* left over from before the slot was used again */
        addr = site->addr;
        rc = decide(l, t, site, &r);
        if (rc)
            return rc;
    }
    if (l->event->n_hits)
        return report(l, t, addr);
    return task_go(l, t, 0);
}

int hold_for_others(struct live *l, struct task *t, const siginfo_t *info, uint64_t addr)
{
    l->event->kind = LIVE_TRAP;
    l->event->tid = t->tid;
    l->event->tgid = t->tgid;
    l->event->space = t->space->id;
    l->event->signo = info->si_signo;
    l->event->code = info->si_code;
    l->event->addr = addr;
    /* si_perf_data lies behind si_addr (include/uapi/asm-generic/siginfo.h) */
    memcpy(&l->event->data, (const uint8_t *)info + 24, sizeof l->event->data);
    t->state = TASK_HELD;
    return 1;
}

int on_trap(struct live *l, struct task *t)
{
    bool stepped = t->stepped;
    siginfo_t info;
    int rc;

    t->stepped = false;
    t->signal_stop = true;
    if (ptrace(PTRACE_GETSIGINFO, t->tid, NULL, &info) < 0)
        return -errno;
    switch (info.si_code) {
    case CODE_INT3:
        rc = on_int3(l, t);
        if (rc == 2)
            return hold_for_others(l, t, &info, l->event->addr);
        if (rc != 3)
            return rc;
        break;
    case CODE_HWBKPT:
    case TRAP_TRACE:
    case TRAP_BRKPT:
        if (stepped || (t->space->n_hw && info.si_code == CODE_HWBKPT))
            return on_hw(l, t, info.si_code == CODE_HWBKPT);
        break;
    case CODE_PERF:
        if (l->sigs & 1ull << SIGTRAP)
            return hold_for_others(l, t, &info, (uint64_t)info.si_addr);
        break;
    }
    rc = fix_rip(l, t);
    return rc ? rc : task_go(l, t, SIGTRAP);
}
