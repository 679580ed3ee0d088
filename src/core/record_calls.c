/* A system call from entry to exit: inputs logged, outputs redirected to scratch
 * memory where another task could see them half-written, outputs logged. */
#include <errno.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "record.h"

#define SCRATCH_FIRST 0x70010000ull
#define SCRATCH_END 0x80000000ull
#define SCRATCH_MIN (256u << 10)
#define SCRATCH_MAX (64u << 20)
#define SIGRTMIN_KERNEL 32 /* libc's SIGRTMIN leaves out those that it uses itself */

/* A seccomp filter of the program's own judges a skipped call by the number -1,
 * and may kill for it. Under one the call is made, with arguments that can only fail. */
static int make_fail(struct task *t)
{
    struct regs regs = t->regs;

    regs.r[R_RDI] = regs.r[R_RSI] = regs.r[R_RDX] = ~0ull;
    regs.r[R_R10] = regs.r[R_R8] = regs.r[R_R9] = ~0ull;
    t->args_changed = true;
    return regs_set(t->tid, &regs);
}

/* Makes the kernel skip the call and answers with result. */
int call_skip(struct task *t, int64_t result)
{
    int rc = t->no_remote ? make_fail(t) : reg_poke(t->tid, R_ORIG_RAX, ~0ull);

    if (rc)
        return rc;
    t->emulated = true;
    t->result = result;
    t->may_sleep = false;
    return 0;
}

static bool first_time(uint8_t *bits, unsigned n)
{
    bool first = !(bits[n / 8] & (1u << n % 8));

    bits[n / 8] |= (uint8_t)(1u << n % 8);
    return first;
}

static int refuse(struct recorder *r, struct task *t, int err, struct reason_info *ret)
{
    uint64_t nr = t->regs.r[R_ORIG_RAX];
    int rc = call_skip(t, -err);

    if (rc)
        return rc;
    if (!t->desc) {
        if (first_time(r->refused, nr < CALL_MAX_NR ? (unsigned)nr : CALL_MAX_NR))
            *ret = (struct reason_info){WHY_REFUSED, t->serial, (int64_t)nr, 1};
    } else if ((t->desc->flags & CALLF_WARN)) {
        unsigned i = (unsigned)(t->desc - relive_calls.descs);

        if (first_time(r->refused_desc, i))
            *ret = (struct reason_info){WHY_REFUSED, t->serial, (int64_t)nr, 0};
    }
    return 0;
}

static uint8_t echo_of(const struct recorder *r, const struct task *t, uint64_t fd)
{
    for (unsigned i = 0; i < r->n_echo; i++)
        if (syscall(SYS_kcmp, t->tid, getpid(), KCMP_FILE, fd, r->echo_fds[i]) == 0)
            return r->echo_bits[i];
    return 0;
}

static bool changes_while_asleep(const struct call_desc *d)
{
    for (unsigned i = 0; i < CALL_MAX_ARGS; i++)
        if (d->arg[i].flags & ARGF_FUTEX_WORD)
            return true;
    return false;
}

static int set_args(struct regs *regs, const uint64_t args[6])
{
    regs->r[R_RDI] = args[0];
    regs->r[R_RSI] = args[1];
    regs->r[R_RDX] = args[2];
    regs->r[R_R10] = args[3];
    regs->r[R_R8] = args[4];
    regs->r[R_R9] = args[5];
    return 0;
}

static bool overlap(uint64_t start, uint64_t len, uint64_t other, uint64_t other_len)
{
    return start < other + other_len && other < start + len;
}

/* Scratch memory that the program maps something over, or unmaps, is the program's from now on. */
static void forget_scratch(const struct recorder *r, const struct task *t, uint64_t start, uint64_t len)
{
    struct mm_info *mm = t->mm;

    for (unsigned i = 0; i < r->n_tasks; i++) {
        struct task *other = r->tasks[i];

        if (other->mm == mm && other->scratch &&
            overlap(start, len, other->scratch, other->scratch_size))
            other->scratch = other->scratch_size = 0;
    }
    for (unsigned i = mm->n_pool; i-- > 0;)
        if (overlap(start, len, mm->pool[i].start, mm->pool[i].size))
            mm->pool[i] = mm->pool[--mm->n_pool];
}

#define MAP_FIXED_ANY (0x10u | 0x100000u) /* MAP_FIXED, MAP_FIXED_NOREPLACE */
#define MREMAP_FIXED_FLAG 2u

/* The agent's pages stay what they are: calls that would change them are refused, and munmap leaves
 * them out (what lies before them, else what lies behind). 1: refused. */
static int keep_agent(const struct recorder *r, struct task *t, uint64_t nr, const uint64_t args[6])
{
    uint64_t start = args[0], len = args[1], changed[6], end;
    struct regs regs = t->regs;
    int rc;

    switch (nr) {
    case SYS_mmap:
        if (!(args[3] & MAP_FIXED_ANY))
            return 0;
        break;
    case SYS_mremap:
        if (args[3] & MREMAP_FIXED_FLAG && overlap(args[4], args[2], AGENT_TEXT, AGENT_SIZE))
            return (rc = call_skip(t, -ENOMEM)) ? rc : 1;
        if (args[3] & MREMAP_FIXED_FLAG)
            forget_scratch(r, t, args[4], args[2]);
        break;
    case SYS_munmap:
    case SYS_mprotect:
    case SYS_madvise:
        break;
    default:
        return 0;
    }
    if (len > 1ull << 47 || start > 1ull << 47)
        return 0; /* fails by itself */
    len = (len + 4095) & ~4095ull;
    if (nr != SYS_mprotect && nr != SYS_madvise)
        forget_scratch(r, t, start, len);
    if (!overlap(start, len, AGENT_TEXT, AGENT_SIZE))
        return 0;
    if (nr != SYS_munmap)
        return (rc = call_skip(t, -ENOMEM)) ? rc : 1;
    end = start + len;
    memcpy(changed, args, sizeof changed);
    if (start < AGENT_TEXT) {
        changed[1] = AGENT_TEXT - start;
    } else {
        changed[0] = AGENT_TEXT + AGENT_SIZE;
        changed[1] = end > changed[0] ? end - changed[0] : 0;
    }
    if (!changed[1])
        return (rc = call_skip(t, 0)) ? rc : 1;
    set_args(&regs, changed);
    t->args_changed = true;
    return regs_set(t->tid, &regs);
}

/* Memory the kernel fills in is seen by other tasks while the call sleeps. */
static bool needs_redirect(const struct task *t)
{
    return (t->desc->flags & CALLF_BLOCKS) && (t->mm->tasks > 1 || t->mm->shares);
}

static int scratch_grow(struct recorder *r, struct task *t, uint64_t need)
{
    uint64_t size = t->scratch_size ? t->scratch_size : SCRATCH_MIN;
    uint64_t args[6];
    int64_t got;
    int rc;

    while (size < need)
        size *= 2;
    for (unsigned i = 0; i < t->mm->n_pool && !t->scratch; i++) {
        /* what a thread that has ended left */
        if (t->mm->pool[i].size < size)
            continue;
        t->scratch = t->mm->pool[i].start;
        t->scratch_size = t->mm->pool[i].size;
        t->mm->pool[i] = t->mm->pool[--t->mm->n_pool];
        return 0;
    }
    if (size > SCRATCH_MAX || t->no_remote)
        return -ENOSPC;
    if (t->scratch) {
        args[0] = t->scratch;
        args[1] = t->scratch_size;
        if ((rc = remote_call(t->tid, SYS_munmap, args, 0, &t->stash, &got)))
            return rc;
        t->scratch = t->scratch_size = 0;
    }
    if (r->scratch_next < SCRATCH_FIRST || r->scratch_next + size > SCRATCH_END)
        r->scratch_next = SCRATCH_FIRST;
    args[0] = r->scratch_next; /* a hint, so that the program's own layout stays as it is */
    r->scratch_next += size;
    args[1] = size;
    args[2] = PROT_READ | PROT_WRITE;
    args[3] = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    args[4] = ~0ull;
    args[5] = 0;
    if ((rc = remote_call(t->tid, SYS_mmap, args, 0, &t->stash, &got)))
        return rc;
    if (got < 0 && got > -4096)
        return -ENOSPC;
    t->scratch = (uint64_t)got;
    t->scratch_size = size;
    return 0;
}

/* A remote call at a call's entry cancels it; cancelling first (with a harmless
 * getpid) leaves the task at an exit stop, rewound. */
static int leave_entry(struct task *t)
{
    const uint64_t args[6] = {0};
    int64_t ignored;
    int rc = remote_call(t->tid, SYS_getpid, args, 1, &t->stash, &ignored);

    if (rc)
        return rc;
    t->in_call = false;
    t->rewound = true;
    return 0;
}

/* A signal-delivery-stop: of a signal raised anew? Real-time signals queue: an instance that was
 * pending already comes first and is another one. Of the others there is only ever one. */
int take_raised(struct task *t, int signo, const siginfo_t *info)
{
    if (signo != t->raised.signo || (signo >= SIGRTMIN_KERNEL && info->si_code != SI_KERNEL))
        return 0;
    t->raised.signo = 0;
    return ptrace(PTRACE_SETSIGINFO, t->tid, NULL, t->raised.info) < 0 ? -errno : 0;
}

/* Makes the oldest signal that is not blocked the first. A blocked one (a handler runs, with it in
 * its mask) waits for a later call. */
static int stash_choose(struct task *t, bool *ret_any)
{
    uint64_t mask;

    *ret_any = false;
    if (ptrace(PTRACE_GETSIGMASK, t->tid, (void *)sizeof mask, &mask) < 0)
        return -errno;
    for (unsigned i = 0; i < t->stash.count; i++) {
        struct stashed_signal s = t->stash.items[i];

        if (mask >> (s.signo - 1) & 1)
            continue;
        memmove(t->stash.items + 1, t->stash.items, i * sizeof s);
        t->stash.items[0] = s;
        *ret_any = true;
        return 0;
    }
    return 0;
}

/* The oldest stashed signal is delivered just before the call the task has reached: it is raised
 * anew, and given its own siginfo at its stop (take_raised). */
static int deliver_stashed(struct recorder *r, struct task *t)
{
    int rc;

    if ((rc = leave_entry(t)) || (rc = place_rewound(r, t)))
        return rc;
    stash_pop(&t->stash, &t->raised);
    t->sig = t->raised.signo;
    return 0;
}

/* 0; 1: the call was cancelled to make room, and will be entered again. */
static int redirect(struct recorder *r, struct task *t, const uint64_t args[6])
{
    struct regs changed = t->regs;
    uint64_t need = 0;
    int rc;

    rc = params_redirect_make(t->desc, args, &t->mem, t->scratch, t->scratch_size, &need, &t->redirect);
    if (rc == -ENOSPC && !t->no_remote && need <= SCRATCH_MAX) {
        if ((rc = leave_entry(t)))
            return rc;
        rc = scratch_grow(r, t, need);
        if (rc == -ENOSPC)
            t->no_remote = true; /* no room: from now on unredirected */
        else if (rc)
            return rc;
        return 1;
    }
    if (rc == -EFAULT || rc == -ENOSPC || (!rc && !t->redirect.active))
        return params_entry_take(t->desc, args, &t->mem, &t->entry);
    if (rc)
        return rc;
    set_args(&changed, t->redirect.args);
    if ((rc = regs_set(t->tid, &changed)))
        return rc;
    t->redirected = true;
    return 0;
}

int call_entered(struct recorder *r, struct task *t, struct reason_info *ret)
{
    uint64_t nr, args[6];
    int rc;

    if ((rc = regs_get(t->tid, &t->regs)))
        return rc;
    t->in_call = true;
    t->entry_logged = t->exit_pending = t->emulated = t->redirected = t->args_changed = false;
    t->exit_ready = false;
    t->may_sleep = t->settles = t->sleeps_deep = false;
    t->echo = 0;
    buf_clear(&t->in);
    buf_clear(&t->out);
    buf_clear(&t->extra);
    if (t->stash.count && !t->raised.signo) {
        bool deliverable;

        if ((rc = stash_choose(t, &deliverable)))
            return rc;
        if (deliverable)
            return deliver_stashed(r, t);
    }
    nr = t->regs.r[R_ORIG_RAX];
    call_args(&t->regs, args);
    t->desc = NULL;
    if (call_by_other_way(t->tid, &t->regs)) {
        rc = call_skip(t, -ENOSYS);
        if (!rc && first_time(r->refused, CALL_MAX_NR + 1))
            *ret = (struct reason_info){WHY_REFUSED, t->serial, (int64_t)nr, 2};
        return rc;
    }
    if (nr == SYS_restart_syscall && t->restart_desc) {
        /* the arguments are still those of the interrupted call */
        t->desc = t->restart_desc;
        t->may_sleep = true;
        t->redirected = t->restart_redirected;
        return t->redirected ? 0 : params_entry_take(t->desc, args, &t->mem, &t->entry);
    }
    t->restart_desc = NULL;
    t->desc = call_lookup(nr, args);
    if (!t->desc)
        return refuse(r, t, ENOSYS, ret);
    if ((rc = params_in(t->desc, args, &t->mem, &t->in)))
        return rc;
    if ((rc = keep_agent(r, t, nr, args)))
        return rc < 0 ? rc : 0;
    if (t->desc->flags & CALLF_REFUSE)
        return refuse(r, t, t->desc->refuse_errno, ret);
    if (t->desc->flags & CALLF_WRITES_FD)
        t->echo = echo_of(r, t, args[0]);
    if (needs_redirect(t)) {
        if ((rc = redirect(r, t, args)) != 0)
            return rc < 0 ? rc : 0;
    } else if ((rc = params_entry_take(t->desc, args, &t->mem, &t->entry))) {
        return rc;
    }
    t->may_sleep = t->desc->flags & CALLF_BLOCKS;
    t->settles = changes_while_asleep(t->desc);
    if (t->desc->flags & CALLF_RECORD_ENTRY)
        *ret = (struct reason_info){WHY_ENTRY, t->serial, (int64_t)nr, 0};
    return 0;
}

/* The words that the kernel changes while the call sleeps (PI futexes). */
static int futex_words(struct task *t)
{
    uint64_t args[6];
    uint32_t word;

    call_args(&t->regs, args);
    for (unsigned i = 0; t->desc && i < CALL_MAX_ARGS; i++) {
        if (!(t->desc->arg[i].flags & ARGF_FUTEX_WORD) || mem_read(&t->mem, args[i], &word, 4))
            continue;
        if (buf_put_u64(&t->out, args[i]) || buf_put_u32(&t->out, 4) || buf_put(&t->out, &word, 4))
            return -ENOMEM;
    }
    return 0;
}

int call_log_entry(struct recorder *r, struct task *t)
{
    struct event_out e = {.kind = EV_ENTRY, .nr = (uint16_t)t->regs.r[R_ORIG_RAX], .task = t->serial,
                          .regs = t->regs.r, .base = &t->base, .in = &t->in, .out = &t->out};
    int rc;

    if (t->entry_logged)
        return 0;
    if ((rc = futex_words(t)) || (rc = evlog_put(&r->log, &e)))
        return rc;
    t->entry_logged = true;
    buf_clear(&t->out);
    return 0;
}

static bool is_restart(int64_t result)
{
    return result == -K_ERESTARTSYS || result == -K_ERESTARTNOINTR ||
           result == -K_ERESTARTNOHAND || result == -K_ERESTART_RESTARTBLOCK;
}

/* The exit stop: outputs are gathered; logging waits for Python's handler, if any. */
int call_ended(struct recorder *r, struct task *t, struct reason_info *ret)
{
    uint64_t value;
    int rc;

    spin_after_call(r, t);
    if (t->emulated) {
        if ((rc = reg_poke(t->tid, R_RAX, (uint64_t)t->result)))
            return rc;
    } else {
        if ((rc = reg_peek(t->tid, R_RAX, &value)))
            return rc;
        t->result = (int64_t)value;
    }
    if (t->redirected && t->desc) {
        struct regs back = t->regs;

        rc = params_redirect_finish(t->desc, &t->redirect, t->result, &t->mem, &t->out);
        if (rc == -EFAULT)
            t->result = -EFAULT; /* another task unmapped the buffer meanwhile */
        else if (rc)
            return rc;
        back.r[R_RAX] = (uint64_t)t->result;
        if ((rc = regs_set(t->tid, &back)))
            return rc;
    } else if (t->desc && !t->emulated) {
        if ((rc = params_out(t->desc, &t->entry, t->result, &t->mem, &t->out)))
            return rc;
        if (t->result == -EFAULT &&
            (rc = params_out_faulted(t->desc, &t->entry, &t->mem, &t->out)))
            return rc;
    }
    if (t->args_changed) {
        struct regs back = t->regs;

        back.r[R_RAX] = (uint64_t)t->result;
        if ((rc = regs_set(t->tid, &back)))
            return rc;
    }
    t->exit_pending = true;
    if (t->desc && t->result == -K_ERESTART_RESTARTBLOCK) {
        t->restart_desc = t->desc;
        t->restart_redirected = t->redirected;
    } else {
        t->restart_desc = NULL;
    }
    if (t->desc && (t->desc->flags & CALLF_RECORD_EXIT) && !is_restart(t->result)) {
        *ret = (struct reason_info){WHY_EXIT, t->serial, (int64_t)t->regs.r[R_ORIG_RAX], t->result};
        return 0;
    }
    return call_finish(r, t, ret);
}

/* Whether the path opened may be another name of the recorder's own stdout. */
static bool names_device(const struct buf *in)
{
    size_t at = 0;

    while (at + 8 <= in->len) {
        uint16_t kept;
        uint32_t len;
        const uint8_t *text;

        memcpy(&kept, in->data + at + 2, 2);
        memcpy(&len, in->data + at + 4, 4);
        text = in->data + at + 8 + (len > kept ? 8 : 0);
        if (in->data[at + 1] == IN_STRING)
            return (kept > 5 && !memcmp(text, "/dev/", 5)) || (kept > 6 && !memcmp(text, "/proc/", 6));
        at += 8u + (len > kept ? 8u : 0u) + kept;
    }
    return false;
}

/* Logs the ended call. */
int call_finish(struct recorder *r, struct task *t, struct reason_info *ret)
{
    struct event_out e = {.kind = t->entry_logged ? EV_EXIT : EV_SYSCALL,
                          .nr = (uint16_t)t->regs.r[R_ORIG_RAX], .task = t->serial,
                          .has_result = true, .result = t->result,
                          .out = &t->out, .extra = &t->extra};
    int rc;

    if (!t->entry_logged) {
        e.regs = t->regs.r;
        e.base = &t->base;
        e.in = &t->in;
    }
    if (t->result > 0)
        e.flags = (uint8_t)(t->echo << 5);
    if ((rc = evlog_put(&r->log, &e)))
        return rc;
    t->exit_pending = false;
    t->in_call = false;
    t->may_sleep = false;
    if (e.nr == SYS_rt_sigreturn)
        t->fresh = true; /* it leaves no call number behind to know it by */
    if ((t->desc && (t->desc->flags & CALLF_YIELDS)) || (r->chaos && chaos_switches(r)))
        r->rotate = true;
    if (t->desc && (t->desc->flags & CALLF_OPENS) && t->result >= 0 && names_device(&t->in))
        *ret = (struct reason_info){WHY_OPENED, t->serial, t->result, 0};
    if (r->watch_writes && t->result > 0 && t->desc && (t->desc->flags & CALLF_WRITES_FD))
        *ret = (struct reason_info){WHY_WRITTEN, t->serial, (int64_t)t->regs.r[R_RDI], t->result};
    if (r->verify == VERIFY_ALL && ret->why == WHY_NOTHING_LEFT)
        *ret = (struct reason_info){WHY_LANDMARK, t->serial, 0, 0};
    return 0;
}
