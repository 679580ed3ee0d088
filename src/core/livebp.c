/* The loop over everything that traced programs do. */
#define _GNU_SOURCE
#include "live.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* What the largest record takes, at every site of one address. */
#define RING_RESERVE (MAX_TOGETHER * (sizeof(struct live_record) + 8 * MAX_COLLECT))

int live_create(const struct live_options *options, size_t ring, struct live **ret)
{
    struct live *l = calloc(1, sizeof *l);
    int rc;

    if (!l)
        return -ENOMEM;
    l->options = *options;
    l->next_space = l->next_site = 1;
    l->ring_cap = ring < 2 * RING_RESERVE ? 2 * RING_RESERVE : ring;
    l->ring = malloc(l->ring_cap);
    if (!l->ring) {
        free(l);
        return -ENOMEM;
    }
    rc = guardian_create(&l->guardian);
    if (rc) {
        free(l->ring);
        free(l);
        return rc;
    }
    l->has_guardian = true;
    *ret = l;
    return 0;
}

void live_destroy(struct live *l)
{
    struct live_event ignored;

    l->event = &ignored;
    live_detach(l, NULL, false);
    while (l->spaces) /* tasks that could not be let go of: the kernel does, when we end */
        space_destroy(l, l->spaces);
    sites_destroy(l);
    guardian_destroy(&l->guardian);
    if (l->moved)
        sched_setaffinity(0, sizeof l->own_cpus, &l->own_cpus);
    free(l->early);
    free(l->traps);
    free(l->ranges);
    free(l->ring);
    free(l);
}

/* -- one status */

static int held(struct live *l, struct task *t, enum live_kind kind)
{
    l->event->kind = kind;
    l->event->tid = t->tid;
    l->event->tgid = t->tgid;
    l->event->space = t->space->id;
    t->state = TASK_HELD;
    return 1;
}

static int let_go(struct live *l, struct task *t, int signo)
{
    int rc = ptrace(PTRACE_DETACH, t->tid, NULL, (void *)(intptr_t)signo) < 0 ? -errno : 0;

    task_destroy(l, t);
    return rc == -ESRCH ? 0 : rc;
}

/* The first stop of a task that another one made. */
static int on_first_stop(struct live *l, struct task *t)
{
    struct space *s = t->space;

    t->state = TASK_PAUSED;
    if (t->tgid == t->tid && !t->vfork) { /* a fork: its memory is clean already */
        if (!l->options.forks)
            return let_go(l, t, 0);
        l->event->other = t->parent;
        return held(l, t, LIVE_FORK);
    }
    if (s->n_hw) {
        int rc = hw_write(s, t->tid);

        if (rc)
            return rc;
    }
    if (l->options.threads && t->tgid != t->tid)
        return held(l, t, LIVE_THREAD);
    return task_go(l, t, 0);
}

static int on_exec(struct live *l, struct task *t)
{
    unsigned long former = 0;
    uint32_t old = t->space->id;
    bool was_vfork = t->vfork;
    struct space *s;
    int rc;

    if (ptrace(PTRACE_GETEVENTMSG, t->tid, NULL, &former) < 0)
        return -errno;
    if (former && (pid_t)former != t->tid) {
        /* another thread took the leader's number; that thread is no more */
        struct task *gone = task_find(l, (pid_t)former);

        if (gone) {
            stash_free(&t->stash);
            t->stash = gone->stash;
            memset(&gone->stash, 0, sizeof gone->stash);
            task_destroy(l, gone);
        }
    }
    if (was_vfork && !l->options.follow)
        return let_go(l, t, 0);
    rc = space_create(l, t->tgid, &s);
    if (rc)
        return rc;
    s->tasks++;
    space_leave(l, t);
    t->space = s;
    t->vfork = false;
    t->n_again = 0;
    rc = hw_clear(t->tid);
    if (rc && rc != -ESRCH)
        return rc;
    l->event->old_space = old;
    return held(l, t, LIVE_EXEC);
}

static int on_end(struct live *l, struct task *t, int status)
{
    bool leader = t->tid == t->tgid;

    l->event->tid = t->tid;
    l->event->tgid = t->tgid;
    l->event->space = t->space->id;
    l->event->status = status;
    task_destroy(l, t);
    if (!leader)
        return 0;
    l->event->kind = LIVE_EXIT;
    return 1;
}

/* POLL_* and SI_SIGIO: of a descriptor; SI_KERNEL: sent by a BPF program. Programs
 * do not send themselves the signals asked for with these codes. */
static bool told_by_evaluator(int code)
{
    return (code > 0 && code <= 6) || code == SI_SIGIO || code == CODE_INT3;
}

/* 1: an event was made, 0: dealt with, or -errno. */
static int on_status(struct live *l, struct task *t, int status)
{
    int event = status >> 16, signo, rc;

    if (!WIFSTOPPED(status))
        return on_end(l, t, status);
    signo = WSTOPSIG(status);
    t->signal_stop = false;
    if (t->state == TASK_NEW || t->fresh) {
        t->fresh = false;
        if (event == PTRACE_EVENT_STOP)
            return on_first_stop(l, t);
    }
    switch (event) {
    case 0:
        break;
    case PTRACE_EVENT_CLONE:
    case PTRACE_EVENT_FORK:
    case PTRACE_EVENT_VFORK:
        rc = task_enter_new(l, t, status);
        return rc ? rc : task_go(l, t, 0);
    case PTRACE_EVENT_EXEC:
        return on_exec(l, t);
    case PTRACE_EVENT_STOP:
        t->interrupting = false;
        t->group = signo != SIGTRAP;
        return task_go(l, t, 0);
    default:
        return task_go(l, t, 0);
    }
    if (signo == SIGTRAP)
        return on_trap(l, t);
    if (signo == (SIGTRAP | 0x80)) /* the end of a call whose start was looked at */
        return task_go(l, t, 0);
    t->signal_stop = true;
    if (l->sigs & 1ull << signo) {
        siginfo_t info;

        if (ptrace(PTRACE_GETSIGINFO, t->tid, NULL, &info) < 0)
            return -errno;
        if (told_by_evaluator(info.si_code))
            return hold_for_others(l, t, &info, 0);
    }
    if (l->n_ranges && (signo == SIGSEGV || signo == SIGBUS || signo == SIGILL || signo == SIGFPE)) {
        siginfo_t info;
        uint64_t rip;

        rc = reg_peek(t->tid, R_RIP, &rip);
        if (rc)
            return rc;
        if (in_foreign_range(l, rip)) {
            if (ptrace(PTRACE_GETSIGINFO, t->tid, NULL, &info) < 0)
                return -errno;
            if (info.si_code > 0)
                return hold_for_others(l, t, &info, rip);
        }
    }
    rc = fix_rip(l, t);
    return rc ? rc : task_go(l, t, signo);
}

/* -- the loop */

static void tick(int signo)
{
    (void)signo; /* its only use is that waiting ends */
}

struct alarm_clock {
    timer_t timer;
    struct sigaction before;
    bool set;
};

static int tick_signal(void)
{
    return SIGRTMAX - 3;
}

static int clock_start(struct alarm_clock *c, int ms)
{
    struct sigaction action = {.sa_handler = tick};
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = tick_signal()};
    struct itimerspec every;

    c->set = false;
    if (ms < 0)
        return 0;
    event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
    if (sigaction(tick_signal(), &action, &c->before) < 0)
        return -errno;
    if (timer_create(CLOCK_MONOTONIC, &event, &c->timer) < 0) {
        int err = errno;

        sigaction(tick_signal(), &c->before, NULL);
        return -err;
    }
    /* It goes on ringing: the first time may come just before the wait. */
    every.it_value.tv_sec = every.it_interval.tv_sec = ms / 1000;
    every.it_value.tv_nsec = every.it_interval.tv_nsec = (ms % 1000) * 1000000l + 1;
    timer_settime(c->timer, 0, &every, NULL);
    c->set = true;
    return 0;
}

static void clock_stop(struct alarm_clock *c)
{
    if (!c->set)
        return;
    timer_delete(c->timer);
    sigaction(tick_signal(), &c->before, NULL);
}

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

static struct task *waiting(const struct live *l)
{
    for (size_t i = 0; l->n_waiting && i < 256; i++)
        for (struct task *t = l->tasks[i]; t; t = t->next)
            if (t->has_pending)
                return t;
    return NULL;
}

static int take(struct live *l, struct task *t, int status)
{
    int rc = on_status(l, t, status);

    if (rc == -ESRCH)
        return 0; /* killed meanwhile: its end comes by itself */
    return rc;
}

static int one_round(struct live *l)
{
    struct task *t = waiting(l);
    int status, rc;
    pid_t tid;

    if (t) {
        t->has_pending = false;
        l->n_waiting--;
        return take(l, t, t->pending);
    }
    for (size_t i = 0; i < l->n_early; i++) {
        t = task_find(l, l->early[i].tid);
        if (t && early_take(l, t->tid, &status))
            return take(l, t, status);
    }
    rc = live_wait(l, &tid, &status);
    if (rc)
        return rc;
    t = task_find(l, tid);
    if (!t)
        return early_add(l, tid, status);
    return take(l, t, status);
}

int live_settle(struct live *l, struct live_event *ret)
{
    struct task *t;

    memset(ret, 0, sizeof *ret);
    l->event = ret;
    while ((t = waiting(l))) {
        int rc;

        if (l->ring_cap - l->ring_len < RING_RESERVE) {
            ret->kind = LIVE_DRAIN;
            return 0;
        }
        t->has_pending = false;
        l->n_waiting--;
        rc = take(l, t, t->pending);
        if (rc)
            return rc < 0 ? rc : 0;
    }
    return 0;
}

int live_run(struct live *l, int timeout_ms, struct live_event *ret)
{
    struct alarm_clock clock;
    int64_t end = timeout_ms < 0 ? 0 : now_ms() + timeout_ms;
    unsigned rounds = 0;
    int rc;

    memset(ret, 0, sizeof *ret);
    l->event = ret;
    if (!l->n_tasks) {
        ret->kind = LIVE_EMPTY;
        return 0;
    }
    rc = clock_start(&clock, timeout_ms);
    if (rc)
        return rc;
    for (;;) {
        if (l->ring_len > l->ring_cap / 2) {
            ret->kind = LIVE_DRAIN;
            rc = 0;
            break;
        }
        rc = one_round(l);
        if (rc == 1 || (rc == 0 && !l->n_tasks)) {
            if (rc == 0)
                ret->kind = LIVE_EMPTY;
            rc = 0;
            break;
        }
        if (rc == -ECHILD && !l->n_tasks)
            rc = 0;
        /* A hot site never lets us sleep: look at the time now and then. */
        if (rc == -EINTR || (rc == 0 && timeout_ms >= 0 && ++rounds % 64 == 0)) {
            if (timeout_ms >= 0 && now_ms() >= end) {
                rc = 0;
                break;
            }
        }
        if (rc)
            break;
    }
    clock_stop(&clock);
    return rc;
}

static int go_on(struct live *l, struct task *t, int signo)
{
    struct patch *p;
    struct regs r;
    int rc;

    if (t->at_patch && !signo) {
        p = patch_find(t->space, t->at_patch);
        rc = regs_get(t->tid, &r);
        if (rc)
            return rc;
        if (p && r.r[R_RIP] == t->at_patch)
            return task_pass(l, t, p, &r);
    } else if (t->at_patch) {
        /* the signal comes before the instruction, which has been counted */
        rc = regs_get(t->tid, &r);
        if (!rc && r.r[R_RIP] == t->at_patch)
            again_add(t, t->at_patch, &r);
    }
    return task_go(l, t, signo);
}

int live_continue(struct live *l, pid_t tid, int signo)
{
    struct task *t = task_find(l, tid);
    struct live_event ignored, *before = l->event;
    int rc;

    if (!t)
        return -ESRCH;
    if (t->state != TASK_HELD && t->state != TASK_PAUSED)
        return -EINVAL;
    if (t->has_pending)
        return 0;
    memset(&ignored, 0, sizeof ignored);
    l->event = &ignored;
    rc = go_on(l, t, signo);
    l->event = before;
    return rc == -ESRCH ? 0 : rc;
}

/* -- letting go */

/* Whether a signal that a task was stopped with came from what is taken away now. */
static int was_ours(const struct live *l, const struct task *t, bool *ret)
{
    siginfo_t info;
    uint64_t rip;
    int rc, signo = WSTOPSIG(t->pending);

    *ret = t->stepped || (signo & 0x80);
    if (*ret)
        return 0;
    if (ptrace(PTRACE_GETSIGINFO, t->tid, NULL, &info) < 0)
        return -errno;
    if (signo != SIGTRAP) {
        *ret = (l->sigs & 1ull << signo) && told_by_evaluator(info.si_code);
        return 0;
    }
    if (info.si_code == CODE_PERF) {
        *ret = l->sigs & 1ull << SIGTRAP;
    } else if (info.si_code == CODE_HWBKPT) {
        *ret = t->space->n_hw > 0;
    } else if (info.si_code == CODE_INT3) {
        rc = reg_peek(t->tid, R_RIP, &rip);
        if (rc)
            return rc;
        *ret = patch_find(t->space, rip - 1) || patch_was(t->space, rip - 1);
        if (*ret) /* not a hit: it is executed when the byte is back */
            return reg_poke(t->tid, R_RIP, rip - 1);
    }
    return 0;
}

/* Makes a stopped task forget that it was watched. */
static int unwatch(struct live *l, struct task *t)
{
    bool ours = true;
    uint64_t rip, addr;
    int rc = 0;

    t->last_signo = t->resume_signo;
    if (t->space->hw_used)
        rc = hw_clear(t->tid);
    if (!rc && t->has_pending && !(t->pending >> 16)) {
        t->signal_stop = true;
        rc = was_ours(l, t, &ours);
        if (!ours)
            t->last_signo = WSTOPSIG(t->pending);
    }
    if (!rc)
        rc = reg_peek(t->tid, R_RIP, &rip);
    if (!rc && patch_of_slot(t->space, rip, &addr))
        rc = reg_poke(t->tid, R_RIP, addr);
    return rc == -ESRCH ? 0 : rc;
}

static int release(struct live *l, struct task *t)
{
    struct stashed_signal item;
    int signo = t->last_signo;

    if (t->stash.count && !signo && t->signal_stop) {
        stash_pop(&t->stash, &item);
        if (ptrace(PTRACE_SETSIGINFO, t->tid, NULL, item.info) == 0)
            signo = item.signo;
    }
    while (t->stash.count) {
        stash_pop(&t->stash, &item);
        task_requeue(t, &item);
    }
    return let_go(l, t, signo);
}

int live_detach(struct live *l, struct space *s, bool stopped)
{
    int result = 0, rc = tasks_pause(l, s);
    struct space *o;

    if (rc)
        return rc;
    for (size_t i = 0; i < 256; i++)
        for (struct task *t = l->tasks[i]; t; t = t->next) {
            if ((s && t->space != s) || (t->has_pending && !WIFSTOPPED(t->pending)))
                continue;
            rc = unwatch(l, t);
            if (rc && !result)
                result = rc;
        }
    for (o = l->spaces; o; o = o->next) {
        if (s && o != s)
            continue;
        rc = patches_lift(l, o);
        if (rc && !result)
            result = rc;
        if (stopped)
            kill(o->tgid, SIGSTOP);
    }
    for (size_t i = 0; i < 256; i++)
        for (struct task *t = l->tasks[i], *next; t; t = next) {
            next = t->next;
            if (s && t->space != s)
                continue;
            if (t->has_pending && !WIFSTOPPED(t->pending)) {
                if (!s)
                    task_destroy(l, t);
                continue; /* ended: live_run tells */
            }
            rc = release(l, t);
            if (rc && !result)
                result = rc;
        }
    return result;
}
