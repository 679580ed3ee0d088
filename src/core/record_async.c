/* Asynchronous stops: time slices, and signals that arrive anywhere in user code. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "landmark.h"
#include "record.h"

/* A periodic tick while several tasks exist, to look whether a slice is over: armed and
 * disarmed rarely, so that it costs nothing per stop. It interrupts waitpid. */
#define TICKS_PER_SLICE 2
#define TICK_MIN_NS 50000u

static volatile sig_atomic_t ticked;

static int tick_signal(void)
{
    return SIGRTMIN + 11;
}

/* Where taking a signal costs more than a short tick lasts (under another tracer, in some sandboxes),
 * ticks alone would keep us busy for ever. One that comes late, before anybody has looked at the one
 * before, makes the next ones rarer, up to a bound; one that is looked at, as frequent as before. */
#define RAREST_NS 4000000u
static volatile sig_atomic_t rarer;
static timer_t tick_timer;
static uint64_t tick_ns;

static void arm_ticks(void)
{
    uint64_t ns = tick_ns << rarer;
    struct itimerspec spec = {0};

    spec.it_interval.tv_sec = spec.it_value.tv_sec = (time_t)(ns / 1000000000u);
    spec.it_interval.tv_nsec = spec.it_value.tv_nsec = (long)(ns % 1000000000u);
    timer_settime(tick_timer, 0, &spec, NULL); /* async-signal-safe; both arguments are ours */
}

static void on_tick(int signo, siginfo_t *info, void *context)
{
    (void)signo;
    (void)context;
    if (ticked && info->si_overrun > 0 && tick_ns && tick_ns << rarer < RAREST_NS) {
        rarer++;
        arm_ticks();
    }
    ticked = 1;
}

bool recorder_ticked(void)
{
    bool was = ticked;

    ticked = 0;
    if (was && rarer) {
        rarer = 0;
        arm_ticks();
    }
    return was;
}

int recorder_tick_start(struct recorder *r)
{
    struct sigaction action = {.sa_sigaction = on_tick, .sa_flags = SA_SIGINFO}; /* no SA_RESTART */
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = tick_signal()};

    if (r->has_timer)
        return 0;
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0); /* 50 us by default, for short sleeps */
    event._sigev_un._tid = (int)syscall(SYS_gettid);
    if (sigaction(tick_signal(), &action, NULL) || timer_create(CLOCK_MONOTONIC, &event, &tick_timer))
        return -errno;
    tick_ns = 0;
    rarer = 0;
    r->has_timer = true;
    return 0;
}

/* Who shares no memory waits for nobody's progress: such a task is given time to come to
 * a system call by itself, where a switch costs nothing to find again. */
#define ALONE_FACTOR 10
/* Who spins gives way soon: what it waits for is another task's doing. */
#define SPIN_SLICE_NS 100000u

/* Where many a slice ends in a loop that waits, too many for debug registers, the next are shorter. */
static uint64_t shorter_slice(const struct recorder *r, const struct task *t)
{
    uint64_t ns = r->slice_ns >> t->mm->spins_late;

    if (ns > SPIN_SLICE_NS)
        return ns;
    return r->slice_ns < SPIN_SLICE_NS ? r->slice_ns : SPIN_SLICE_NS;
}

uint64_t slice_of(const struct recorder *r, const struct task *t)
{
    if (r->chaos)
        return r->drawn_slice_ns;
    if (t->spinning)
        return SPIN_SLICE_NS;
    if (t->mm->spins_late)
        return shorter_slice(r, t);
    return t->mm->tasks > 1 || t->mm->shares ? r->slice_ns : ALONE_FACTOR * r->slice_ns;
}

void recorder_tick_every(struct recorder *r, uint64_t ns)
{
    if (!r->has_timer || tick_ns == ns)
        return;
    rarer = 0;
    tick_ns = ns;
    arm_ticks();
}

void recorder_tick_set(struct recorder *r)
{
    uint64_t ns = 0;

    if (r->n_tasks > 1 && r->current)
        ns = slice_of(r, r->current) / TICKS_PER_SLICE;
    if (ns && ns < TICK_MIN_NS)
        ns = TICK_MIN_NS;
    recorder_tick_every(r, ns);
}

void recorder_tick_stop(struct recorder *r)
{
    if (r->has_timer)
        timer_delete(tick_timer);
    r->has_timer = false;
    tick_ns = 0;
}

int preempt(struct task *t)
{
    if (t->preempting)
        return 0;
    if (ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL) < 0)
        return -errno;
    t->preempting = true;
    return 0;
}

/* Negative, so no call's number; its low half is -1, so that the kernel sees no call either
 * (syscall_get_nr() != -1 in arch_do_signal_or_restart). */
#define FRESH_MARK 0x80000000ffffffffull

int mark_fresh(struct task *t)
{
    uint64_t number;
    int rc;

    t->marked = false;
    if (!t->fresh && !t->rewound)
        return 0;
    if ((rc = reg_peek(t->tid, R_ORIG_RAX, &number)))
        return rc;
    if ((int64_t)number >= 0)
        return 0;
    if ((rc = reg_poke(t->tid, R_ORIG_RAX, FRESH_MARK)))
        return rc;
    t->marked = true;
    return 0;
}

int unmark_fresh(struct task *t)
{
    bool was_marked = t->marked, was_fresh = t->fresh, was_rewound = t->rewound;
    uint64_t number;
    int rc;

    t->marked = t->fresh = t->rewound = false;
    if (!was_marked)
        return 0;
    if ((rc = reg_peek(t->tid, R_ORIG_RAX, &number)))
        return rc;
    if (number != FRESH_MARK)
        return 0;
    t->fresh = was_fresh;
    t->rewound = was_rewound;
    return reg_poke(t->tid, R_ORIG_RAX, ~0ull);
}

int place_rewound(struct recorder *r, struct task *t)
{
    struct event_out e = {.kind = EV_LANDMARK, .flags = EVF_MARK_ENTRY, .task = t->serial,
                          .base = &t->base};
    struct regs regs;
    int rc;

    if (!t->rewound)
        return 0;
    if ((rc = regs_get(t->tid, &regs)))
        return rc;
    e.regs = regs.r;
    t->rewound = false;
    t->fresh = true;
    return evlog_put(&r->log, &e);
}

static bool at_boundary(const struct task *t, const struct regs *regs)
{
    return (int64_t)regs->r[R_ORIG_RAX] >= 0 || t->fresh;
}

static void tell(const struct recorder *r, const struct task *t, struct reason_info *ret)
{
    if (r->verify)
        *ret = (struct reason_info){WHY_LANDMARK, t->serial, 0, 0};
}

int preempted(struct recorder *r, struct task *t, struct reason_info *ret)
{
    struct regs regs;
    int rc;

    t->preempting = false;
    r->rotate = true;
    if ((rc = place_rewound(r, t)) || (rc = regs_get(t->tid, &regs)))
        return rc;
    if (at_boundary(t, &regs))
        return 0;
    if ((t->mm->tasks > 1 || t->mm->shares) && (rc = spin_look(r, t, &regs)))
        return rc < 0 ? rc : 0;
    if (!(rc = log_landmark(r, t, 0, false)))
        tell(r, t, ret);
    return rc > 0 ? 0 : rc; /* a fault came first: it is an event of its own */
}

int spun(struct recorder *r, struct task *t, struct reason_info *ret)
{
    bool waits;
    int rc = spin_hit(r, t, &waits);

    if (rc || !waits)
        return rc;
    r->rotate = true;
    if (!(rc = log_landmark(r, t, 0, false)))
        tell(r, t, ret);
    return rc > 0 ? 0 : rc;
}

/* An interrupt traps a task that was moved on into its group stop again, if that is not over. */
static int stop_again(struct task *t)
{
    int rc, status;

    t->left_stop = false;
    if (ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL) < 0)
        return -errno;
    if (t->has_status) {
        t->request = PTRACE_SYSCALL; /* another stop comes first */
        return 0;
    }
    if ((rc = task_resume(t->tid, PTRACE_CONT, 0)))
        return rc;
    if ((rc = wait_for(t->tid, 0, &status)) < 0)
        return rc;
    if (WIFSTOPPED(status) && status >> 16 == PTRACE_EVENT_STOP && WSTOPSIG(status) != SIGTRAP)
        return 0;
    t->request = PTRACE_SYSCALL;
    t->status = status;
    t->has_status = true;
    t->state = RUN_RUNNING;
    return 0;
}

int parked(struct recorder *r, struct task *t, struct reason_info *ret)
{
    struct regs regs;
    int rc, stop;

    if ((rc = place_rewound(r, t)) || (rc = regs_get(t->tid, &regs)) || at_boundary(t, &regs))
        return rc;
    if ((rc = log_landmark(r, t, 0, true)) < 0)
        return rc;
    if (t->left_stop && (stop = stop_again(t)))
        return stop;
    if (!rc)
        tell(r, t, ret);
    return 0;
}

int preempted_at_entry(struct recorder *r, struct task *t, struct reason_info *ret)
{
    struct regs regs;
    int rc, status;

    if ((rc = regs_get(t->tid, &regs)))
        return rc;
    regs.r[R_RAX] = regs.r[R_ORIG_RAX];
    regs.r[R_RIP] -= 2;
    regs.r[R_ORIG_RAX] = ~0ull;
    if ((rc = regs_set(t->tid, &regs)))
        return rc;
    for (;;) {
        if ((rc = task_resume(t->tid, PTRACE_SYSCALL, 0)))
            return rc;
        if ((rc = wait_for(t->tid, 0, &status)) < 0)
            return rc;
        if (!WIFSTOPPED(status) || (status >> 16 && status >> 16 != PTRACE_EVENT_STOP)) {
            t->status = status;
            t->has_status = true;
            return 0;
        }
        /* the exit stop of the call that was not made; every stop but the one asked for
         * cancels the interrupt (ptrace_stop in kernel/signal.c clears JOBCTL_TRAP_STOP) */
        if (WSTOPSIG(status) == (SIGTRAP | 0x80))
            break;
        if (!(status >> 16) && (rc = stash_add(&t->stash, t->tid, WSTOPSIG(status))))
            return rc;
    }
    t->preempting = false;
    t->rewound = true;
    r->rotate = true;
    tell(r, t, ret);
    return place_rewound(r, t); /* what it ran comes before what the others will run */
}

int log_landmark(struct recorder *r, struct task *t, int signo, bool stopped)
{
    struct event_out e = {.kind = EV_LANDMARK, .nr = (uint16_t)signo, .task = t->serial,
                          .base = &t->base};
    struct buf sample = {0};
    struct regs regs;
    int rc;

    if ((rc = regs_get(t->tid, &regs)) || (rc = settle(r, t, signo, stopped, &regs)))
        return rc;
    if (!(rc = landmark_take(t->tid, &t->mem, &regs, &t->mm->changes, &sample))) {
        e.regs = regs.r;
        e.out = &sample;
        rc = evlog_put(&r->log, &e);
    }
    buf_free(&sample);
    t->fresh = true;
    t->unplaced = false;
    return rc;
}
