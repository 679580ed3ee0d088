#include "replay.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

int replayer_init(struct replayer *p)
{
    memset(p, 0, sizeof *p);
    p->stop_at = UINT64_MAX;
    p->out.fd = p->err.fd = -1;
    p->watch.patience = WATCH_PATIENCE_NS;
    p->watch.factor = WATCH_FACTOR;
    return 0;
}

void replayer_free(struct replayer *p)
{
    watch_stop(p);
    for (unsigned i = 0; i < p->n_tasks; i++) {
        mem_close(&p->tasks[i]->mem);
        free(p->tasks[i]);
    }
    free(p->tasks);
    buf_free(&p->in);
}

void replayer_feed(struct replayer *p, const uint8_t *data, size_t len, uint64_t first_event)
{
    p->data = data;
    p->len = len;
    p->at = 0;
    p->number = first_event;
    p->chunk_no++;
}

struct rtask *replayer_task(struct replayer *p, uint32_t serial)
{
    if (p->last && p->last->serial == serial)
        return p->last;
    for (unsigned i = 0; i < p->n_tasks; i++)
        if (p->tasks[i]->serial == serial)
            return p->last = p->tasks[i];
    return NULL;
}

int replayer_add(struct replayer *p, uint32_t serial, int tid)
{
    struct rtask *t;
    int rc;

    if (p->n_tasks == p->cap_tasks) {
        unsigned cap = p->cap_tasks ? 2 * p->cap_tasks : 16;
        struct rtask **tasks = realloc(p->tasks, cap * sizeof(void *));

        if (!tasks)
            return -ENOMEM;
        p->tasks = tasks;
        p->cap_tasks = cap;
    }
    if (!(t = calloc(1, sizeof *t)))
        return -ENOMEM;
    t->serial = serial;
    t->tid = tid;
    if ((rc = mem_open(&t->mem, tid))) {
        free(t);
        return rc;
    }
    p->tasks[p->n_tasks++] = t;
    return 0;
}

int replayer_renew(struct replayer *p, uint32_t serial, int tid)
{
    struct rtask *t = replayer_task(p, serial);

    if (!t)
        return -ESRCH;
    mem_close(&t->mem);
    t->tid = tid;
    return mem_open(&t->mem, tid);
}

void replayer_drop(struct replayer *p, uint32_t serial)
{
    p->last = NULL;
    for (unsigned i = 0; i < p->n_tasks; i++) {
        if (p->tasks[i]->serial != serial)
            continue;
        mem_close(&p->tasks[i]->mem);
        free(p->tasks[i]);
        p->tasks[i] = p->tasks[--p->n_tasks];
        return;
    }
}

/* ---- divergence ---- */

enum rp_reason replay_diverge(struct replayer *p, struct rtask *t, enum diverged what,
                              unsigned index, uint64_t expected, uint64_t found)
{
    p->diverged = (struct divergence){what, index, expected, found, 0};
    if (t && what != DIV_GONE)
        reg_peek(t->tid, R_RIP, &p->diverged.rip);
    return RP_DIVERGED;
}

/* All registers must be equal. The resume flag is the debugger's own affair. */
#define EFLAGS_RF 0x10000ull

static enum rp_reason compare_regs(struct replayer *p, struct rtask *t, const struct regs *found)
{
    for (unsigned i = 0; i < EV_NREGS; i++) {
        uint64_t mask = i == R_EFLAGS ? ~EFLAGS_RF : ~0ull;

        if ((t->base.regs[i] & mask) != (found->r[i] & mask))
            return replay_diverge(p, t, i == R_ORIG_RAX ? DIV_CALL : DIV_REGS, i, t->base.regs[i],
                           found->r[i]);
    }
    return RP_NEED_CHUNK;
}

/* ---- moving a task ---- */

static bool is_fault(int sig)
{
    return sig == SIGSEGV || sig == SIGBUS || sig == SIGFPE || sig == SIGILL || sig == SIGTRAP ||
           sig == SIGSYS;
}

/* The interrupted call is made again: what the kernel does on the way back to
 * user code when no handler runs (arch/x86/kernel/signal.c,
 * arch_do_signal_or_restart). */
static uint64_t restarted_call(const struct rtask *t, const struct regs *regs)
{
    return t->restart == -K_ERESTART_RESTARTBLOCK ? SYS_restart_syscall : regs->r[R_ORIG_RAX];
}

static int apply_restart(struct rtask *t)
{
    struct regs regs;
    int rc = regs_get(t->tid, &regs);

    if (rc)
        return rc;
    regs.r[R_RAX] = restarted_call(t, &regs);
    regs.r[R_RIP] -= 2;
    regs.r[R_ORIG_RAX] = ~0ull;
    t->restart = 0;
    return regs_set(t->tid, &regs);
}

int replay_settle(struct rtask *t)
{
    return t->restart ? apply_restart(t) : 0;
}

/* Runs the task to its next stop. 0 and the status, or -errno. */
int replay_advance(struct replayer *p, struct rtask *t, int *ret_status)
{
    for (;;) {
        siginfo_t info;
        int rc;

        if ((rc = replay_settle(t)))
            return rc;
        if ((rc = task_resume(t->tid, PTRACE_SYSEMU, 0)))
            return rc;
        p->n_stops++;
        if ((rc = watch_wait(p, t, ret_status)))
            return rc;
        if (!WIFSTOPPED(*ret_status) || WSTOPSIG(*ret_status) == (SIGTRAP | 0x80) || p->watch.lost)
            return 0;
        if (*ret_status >> 16)
            continue; /* a trap of job control */
        if (is_fault(WSTOPSIG(*ret_status)) &&
            ptrace(PTRACE_GETSIGINFO, t->tid, NULL, &info) == 0 && info.si_code > 0)
            return 0;
        /* a signal from outside has no business here: suppressed */
    }
}

static enum rp_reason failed(int rc, int *ret_errno)
{
    *ret_errno = -rc;
    return RP_ERROR;
}

static enum rp_reason wrong_stop(struct replayer *p, struct rtask *t, int status, uint64_t expected)
{
    if (!WIFSTOPPED(status))
        return replay_diverge(p, t, DIV_GONE, 0, expected, (uint64_t)status);
    if (p->watch.lost)
        return replay_diverge(p, t, DIV_LOST, 0, expected, p->watch.limit);
    return replay_diverge(p, t, DIV_STOP, 0, expected, (uint64_t)status);
}

/* ---- calls ---- */

static unsigned differing_arg(const uint8_t *a, size_t alen, const uint8_t *b, size_t blen)
{
    size_t at = 0;
    unsigned arg = 0;

    while (at + 8 <= alen && at + 8 <= blen) {
        uint32_t len;
        uint16_t kept;
        size_t size;

        arg = a[at];
        memcpy(&kept, a + at + 2, 2);
        memcpy(&len, a + at + 4, 4);
        size = 8u + (len > kept ? 8u : 0u) + kept;
        if (at + size > alen || at + size > blen || memcmp(a + at, b + at, size))
            return arg;
        at += size;
    }
    return arg;
}

/* Brings the task to the call that the log says comes next. */
static enum rp_reason to_entry(struct replayer *p, struct rtask *t, int *ret_errno)
{
    const struct event_in *e = &p->event;
    enum rp_reason why;
    uint64_t args[6];
    int rc, status;

    if ((rc = replay_advance(p, t, &status)))
        return failed(rc, ret_errno);
    if (!WIFSTOPPED(status) || WSTOPSIG(status) != (SIGTRAP | 0x80))
        return wrong_stop(p, t, status, SIGTRAP | 0x80);
    if ((rc = regs_get(t->tid, &t->regs)))
        return failed(rc, ret_errno);
    if (t->regs.r[R_ORIG_RAX] != t->base.regs[R_ORIG_RAX])
        return replay_diverge(p, t, DIV_CALL, R_ORIG_RAX, t->base.regs[R_ORIG_RAX], t->regs.r[R_ORIG_RAX]);
    if ((why = compare_regs(p, t, &t->regs)) != RP_NEED_CHUNK)
        return why;
    call_args(&t->regs, args);
    t->desc = call_by_other_way(t->tid, &t->regs) ? NULL
                                                  : call_lookup(t->regs.r[R_ORIG_RAX], args);
    buf_clear(&p->in);
    if (t->desc && t->regs.r[R_ORIG_RAX] != SYS_restart_syscall && (rc = params_in(t->desc, args, &t->mem, &p->in)))
        return failed(rc, ret_errno);
    if (p->in.len != e->in_len || (e->in_len && memcmp(p->in.data, e->in, e->in_len)))
        return replay_diverge(p, t, DIV_INPUT, differing_arg(e->in, e->in_len, p->in.data, p->in.len), 0, 0);
    t->in_call = true;
    return RP_NEED_CHUNK;
}

static enum rp_reason apply_out(struct replayer *p, struct rtask *t, int *ret_errno)
{
    uint64_t addr = 0;
    int rc;

    if (!p->event.out_len)
        return RP_NEED_CHUNK;
    rc = params_apply(p->event.out, p->event.out_len, &t->mem, &addr);
    if (rc == -EFAULT)
        return replay_diverge(p, t, DIV_MEMORY, 0, 0, addr);
    return rc ? failed(rc, ret_errno) : RP_NEED_CHUNK;
}

static bool is_restart(int64_t result)
{
    return result == -K_ERESTARTSYS || result == -K_ERESTARTNOINTR ||
           result == -K_ERESTARTNOHAND || result == -K_ERESTART_RESTARTBLOCK;
}

static enum rp_reason call_done(struct replayer *p, struct rtask *t, int *ret_errno)
{
    const struct event_in *e = &p->event;
    enum rp_reason why;
    uint64_t args[6];
    int rc;

    if ((why = apply_out(p, t, ret_errno)) != RP_NEED_CHUNK)
        return why;
    if ((e->flags & (EVF_ECHO_OUT | EVF_ECHO_ERR)) && t->desc && e->result > 0) {
        struct echo *to = e->flags & EVF_ECHO_OUT ? &p->out : &p->err;

        call_args(&t->regs, args);
        if (to->fd >= 0 && (rc = params_echo(t->desc, args, e->result, &t->mem, to)))
            return failed(rc, ret_errno);
    }
    if ((rc = reg_poke(t->tid, R_RAX, (uint64_t)e->result)))
        return failed(rc, ret_errno);
    t->restart = is_restart(e->result) ? e->result : 0;
    t->in_call = false;
    return RP_NEED_CHUNK;
}

static bool for_python(const struct rtask *t)
{
    return t->desc && (t->desc->flags & CALLF_REPLAY);
}

/* ---- other events ---- */

static enum rp_reason do_signal(struct replayer *p, struct rtask *t, int *ret_errno)
{
    const struct event_in *e = &p->event;
    struct regs regs;
    int rc, status;

    if (e->flags & EVF_SIG_SYNC) {
        if ((rc = replay_advance(p, t, &status)))
            return failed(rc, ret_errno);
        if (!WIFSTOPPED(status) || WSTOPSIG(status) != e->nr)
            return wrong_stop(p, t, status, e->nr);
    } else if (e->flags & EVF_MARK_ENTRY) {
        if ((rc = replay_advance(p, t, &status)))
            return failed(rc, ret_errno);
        if (!WIFSTOPPED(status) || WSTOPSIG(status) != (SIGTRAP | 0x80))
            return wrong_stop(p, t, status, SIGTRAP | 0x80);
        if ((rc = regs_get(t->tid, &regs)))
            return failed(rc, ret_errno);
        regs.r[R_RAX] = regs.r[R_ORIG_RAX];
        regs.r[R_RIP] -= 2;
        regs.r[R_ORIG_RAX] = ~0ull;
        if ((rc = regs_set(t->tid, &regs)))
            return failed(rc, ret_errno);
    } else if (e->flags & EVF_SIG_FATAL) {
        return RP_NEED_CHUNK; /* struck wherever it was; nothing of it runs any more */
    }
    if (!e->has_regs)
        return RP_NEED_CHUNK;
    if ((rc = regs_get(t->tid, &regs)))
        return failed(rc, ret_errno);
    /* Woken for a signal that another thread took, the task had gone back to its call before this
     * one came: the kernel looks for signals again on its way to user code. The call's number stays
     * in orig_rax until it is there. */
    if (t->restart && t->base.regs[R_RIP] + 2 == regs.r[R_RIP]) {
        regs.r[R_RAX] = restarted_call(t, &regs);
        regs.r[R_RIP] -= 2;
        t->restart = 0;
        if ((rc = regs_set(t->tid, &regs)))
            return failed(rc, ret_errno);
    }
    return compare_regs(p, t, &regs);
}

static enum rp_reason do_regs(struct replayer *p, struct rtask *t, int *ret_errno)
{
    const struct event_in *e = &p->event;
    struct regs regs;
    enum rp_reason why;
    uint64_t rsp;
    int rc = 0;

    if (e->flags & EVF_REGS_XFRAME) {
        if (!(rc = reg_peek(t->tid, R_RSP, &rsp)))
            rc = xstate_from_frame(t->tid, &t->mem, rsp);
    } else if (e->flags & EVF_REGS_XINIT) {
        rc = xstate_reset(t->tid);
    }
    if (rc)
        return failed(rc, ret_errno);
    if ((why = apply_out(p, t, ret_errno)) != RP_NEED_CHUNK)
        return why;
    memcpy(regs.r, t->base.regs, sizeof regs.r);
    t->restart = 0;
    t->in_call = false;
    if ((rc = regs_set(t->tid, &regs)))
        return failed(rc, ret_errno);
    return RP_NEED_CHUNK;
}

static enum rp_reason do_trap(struct replayer *p, struct rtask *t, int *ret_errno)
{
    const struct event_in *e = &p->event;
    enum rp_reason why;
    struct regs regs;
    unsigned len;
    int rc, status;

    if ((rc = replay_advance(p, t, &status)))
        return failed(rc, ret_errno);
    if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGSEGV)
        return wrong_stop(p, t, status, SIGSEGV);
    if ((rc = regs_get(t->tid, &regs)))
        return failed(rc, ret_errno);
    if ((why = compare_regs(p, t, &regs)) != RP_NEED_CHUNK)
        return why;
    if (trapped_instruction(&t->mem, regs.r[R_RIP], &len) != e->nr)
        return replay_diverge(p, t, DIV_INSTRUCTION, 0, e->nr, 0);
    regs.r[R_RAX] = (uint32_t)e->result;
    regs.r[R_RDX] = (uint64_t)e->result >> 32;
    if (e->nr == TRAP_RDTSCP)
        regs.r[R_RCX] = 0;
    regs.r[R_RIP] += len;
    rc = regs_set(t->tid, &regs);
    return rc ? failed(rc, ret_errno) : RP_NEED_CHUNK;
}

/* One event. RP_NEED_CHUNK stands for "done, go on". */
static enum rp_reason play(struct replayer *p, int *ret_errno)
{
    const struct event_in *e = &p->event;
    enum rp_reason why;
    struct rtask *t;

    if (e->kind == EV_META || e->kind == EV_NOTE)
        return RP_NEED_CHUNK;
    if (e->kind == EV_END || e->kind == EV_TASK_NEW)
        return RP_EVENT;
    t = replayer_task(p, e->task);
    if (!t)
        return replay_diverge(p, NULL, DIV_NO_TASK, 0, e->task, 0);
    if (e->has_regs)
        event_regs(e, p->chunk_no, &t->base);
    switch (e->kind) {
    case EV_ENTRY:
        if ((why = to_entry(p, t, ret_errno)) != RP_NEED_CHUNK)
            return why;
        return apply_out(p, t, ret_errno);
    case EV_SYSCALL:
        if ((why = to_entry(p, t, ret_errno)) != RP_NEED_CHUNK)
            return why;
        return for_python(t) ? RP_CALL : call_done(p, t, ret_errno);
    case EV_EXIT:
        if (!t->in_call)
            return RP_BAD_LOG;
        return for_python(t) ? RP_CALL : call_done(p, t, ret_errno);
    case EV_SIGNAL:
        return do_signal(p, t, ret_errno);
    case EV_REGS:
        return do_regs(p, t, ret_errno);
    case EV_TRAP:
        return do_trap(p, t, ret_errno);
    case EV_LANDMARK:
        return e->flags & EVF_MARK_ENTRY ? do_signal(p, t, ret_errno) : RP_EVENT;
    case EV_MEMWRITE:
        return e->extra_len ? RP_EVENT : apply_out(p, t, ret_errno);
    case EV_TASK_EXIT:
    case EV_MEMORY:
        return RP_EVENT;
    default:
        return RP_BAD_LOG;
    }
}

enum rp_reason replayer_run(struct replayer *p, int *ret_errno)
{
    enum rp_reason why = RP_NEED_CHUNK;
    int rc;

    if ((rc = watch_start(p)))
        return failed(rc, ret_errno);
    if (own_tsc(0) == 0)
        p->tsc_off = true;
    while (p->at < p->len) {
        if (p->number >= p->stop_at) {
            why = RP_STOPPED;
            break;
        }
        if (event_decode(p->data, p->len, p->at, &p->event)) {
            why = RP_BAD_LOG;
            break;
        }
        p->event.number = p->number;
        p->event_ms = p->event.time_ms - p->last_ms;
        if ((why = play(p, ret_errno)) != RP_NEED_CHUNK)
            break;
        replayer_next(p);
    }
    if (p->tsc_off)
        own_tsc(1);
    p->tsc_off = false;
    return why;
}

void replayer_next(struct replayer *p)
{
    p->at += p->event.size;
    p->number++;
    p->last_ms = p->event.time_ms;
}

enum rp_reason replayer_finish_call(struct replayer *p, int *ret_errno)
{
    struct rtask *t = replayer_task(p, p->event.task);
    enum rp_reason why;

    if (!t)
        return replay_diverge(p, NULL, DIV_NO_TASK, 0, p->event.task, 0);
    if ((why = call_done(p, t, ret_errno)) == RP_NEED_CHUNK)
        replayer_next(p);
    return why;
}
