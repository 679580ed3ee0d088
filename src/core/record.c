#include "record.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEFAULT_SLICE_NS 50000000u
/* How long a task may be in uninterruptible sleep (disk) before it counts as blocked. */
#define DISK_SLEEP_NS 10000000u

int recorder_init(struct recorder *r)
{
    memset(r, 0, sizeof *r);
    r->slice_ns = DEFAULT_SLICE_NS;
    r->refused_desc = calloc(relive_calls.n_descs / 8 + 1, 1);
    if (!r->refused_desc)
        return -ENOMEM;
    return evlog_init(&r->log);
}

static void task_free(struct task *t)
{
    mem_close(&t->mem);
    params_entry_free(&t->entry);
    params_redirect_free(&t->redirect);
    buf_free(&t->in);
    buf_free(&t->out);
    buf_free(&t->extra);
    stash_free(&t->stash);
    free(t);
}

void recorder_free(struct recorder *r)
{
    for (unsigned i = 0; i < r->n_tasks; i++)
        task_free(r->tasks[i]);
    for (unsigned i = 0; i < r->n_mms; i++) {
        changes_free(&r->mms[i]->changes);
        free(r->mms[i]);
    }
    free(r->tasks);
    free(r->mms);
    free(r->refused_desc);
    recorder_tick_stop(r);
    changes_free(&r->look);
    evlog_free(&r->log);
}

static int grow(void **items, unsigned count, unsigned *cap)
{
    unsigned n = *cap ? 2 * *cap : 16;
    void *more;

    if (count < *cap)
        return 0;
    more = realloc(*items, n * sizeof(void *));
    if (!more)
        return -ENOMEM;
    *items = more;
    *cap = n;
    return 0;
}

static struct mm_info *mm_get(struct recorder *r, uint32_t id)
{
    struct mm_info *mm;

    for (unsigned i = 0; i < r->n_mms; i++)
        if (r->mms[i]->id == id)
            return r->mms[i];
    if (grow((void **)&r->mms, r->n_mms, &r->cap_mms) || !(mm = calloc(1, sizeof *mm)))
        return NULL;
    mm->id = id;
    r->mms[r->n_mms++] = mm;
    return mm;
}

static void mm_put(struct recorder *r, struct mm_info *mm)
{
    if (!mm || --mm->tasks)
        return;
    for (unsigned i = 0; i < r->n_mms; i++)
        if (r->mms[i] == mm)
            r->mms[i] = r->mms[--r->n_mms];
    changes_free(&mm->changes);
    free(mm);
}

int recorder_set_mm(struct recorder *r, struct task *t, uint32_t id)
{
    struct mm_info *mm = mm_get(r, id);

    if (!mm)
        return -ENOMEM;
    mm->tasks++;
    mm_put(r, t->mm);
    t->mm = mm;
    mem_close(&t->mem);
    t->scratch = t->scratch_size = 0;
    t->spin_generation = 0; /* exec clears the debug registers */
    return mem_open(&t->mem, t->tid);
}

int recorder_add(struct recorder *r, uint32_t serial, int tid, int tgid, uint32_t mm)
{
    struct task *t;
    int rc;

    if (grow((void **)&r->tasks, r->n_tasks, &r->cap_tasks) || !(t = calloc(1, sizeof *t)))
        return -ENOMEM;
    t->serial = serial;
    t->tid = tid;
    t->tgid = tgid;
    t->mem.fd = -1;
    t->state = RUN_STOPPED;
    t->request = PTRACE_SYSCALL;
    if ((rc = recorder_set_mm(r, t, mm))) {
        mm_put(r, t->mm);
        free(t);
        return rc;
    }
    r->tasks[r->n_tasks++] = t;
    return 0;
}

void recorder_drop(struct recorder *r, struct task *t)
{
    for (unsigned i = 0; i < r->n_tasks; i++) {
        if (r->tasks[i] != t)
            continue;
        memmove(&r->tasks[i], &r->tasks[i + 1], (r->n_tasks - i - 1) * sizeof *r->tasks);
        r->n_tasks--;
        break;
    }
    if (r->current == t)
        r->current = NULL;
    if (r->waiting == t)
        r->waiting = NULL;
    if (t->scratch && t->mm->n_pool < sizeof t->mm->pool / sizeof *t->mm->pool) {
        t->mm->pool[t->mm->n_pool].start = t->scratch;
        t->mm->pool[t->mm->n_pool++].size = t->scratch_size;
    }
    mm_put(r, t->mm);
    task_free(t);
}

struct task *recorder_task(struct recorder *r, uint32_t serial)
{
    if (r->current && r->current->serial == serial)
        return r->current;
    for (unsigned i = 0; i < r->n_tasks; i++)
        if (r->tasks[i]->serial == serial)
            return r->tasks[i];
    return NULL;
}

static struct task *task_by_tid(struct recorder *r, int tid)
{
    if (r->current && r->current->tid == tid)
        return r->current;
    for (unsigned i = 0; i < r->n_tasks; i++)
        if (r->tasks[i]->tid == tid)
            return r->tasks[i];
    return NULL;
}

/* ---- waiting ---- */

static void note_status(struct recorder *r, int tid, int status)
{
    struct task *t = task_by_tid(r, tid);

    if (t) {
        t->status = status;
        t->has_status = true;
        return;
    }
    /* A new task may stop before its parent's event has been seen. */
    if (r->n_strangers < sizeof r->strangers / sizeof *r->strangers) {
        r->strangers[r->n_strangers].tid = tid;
        r->strangers[r->n_strangers++].status = status;
    }
}

/* Collects stops of any task. block: sleeps until there is one. Returns how many, or -errno
 * (-ECHILD: nothing is left). */
static int collect(struct recorder *r, bool block)
{
    int n = 0;

    for (;;) {
        int status, got = waitpid(-1, &status, __WALL | (n || !block ? WNOHANG : 0));

        if (got < 0)
            got = -errno;
        if (got == -EINTR) {
            if (!recorder_ticked())
                r->interrupt = 1; /* Python looks at its signals */
            return n;
        }
        if (got == -ECHILD)
            return n ? n : -ECHILD;
        if (got <= 0)
            return got < 0 ? got : n;
        note_status(r, got, status);
        n++;
        if (r->n_strangers == sizeof r->strangers / sizeof *r->strangers)
            return n;
    }
}

bool task_runnable(const struct task *t)
{
    return t->has_status || t->state == RUN_STOPPED;
}

static bool others_ready(const struct recorder *r, const struct task *t)
{
    for (unsigned i = 0; i < r->n_tasks; i++)
        if (r->tasks[i] != t && task_runnable(r->tasks[i]))
            return true;
    return false;
}

bool recorder_others_ready(struct recorder *r, const struct task *t)
{
    return others_ready(r, t) || (collect(r, false) > 0 && others_ready(r, t));
}

static bool asleep(const struct task *t, uint64_t since)
{
    char state = task_state_letter(t->tid);

    switch (state) {
    case 'S':
    case 'Z':
    case 'X':
    case 0:
        return true;
    case 'D':
        return t->sleeps_deep || (exact_ns() - since > DISK_SLEEP_NS && !t->settles);
    default:
        return false;
    }
}

/* Waits until the kernel has written what it writes at a task's end: the task is
 * reaped, or (a thread-group leader before its threads) a zombie. */
#define SLEEP_POLLS 100

static int wait_dying(struct recorder *r, struct task *t)
{
    unsigned polls = 0;

    for (;;) {
        int status, rc = wait_for(t->tid, WNOHANG, &status);
        char state;

        if (rc == -ECHILD) {
            t->state = RUN_BLOCKED;
            return 0;
        }
        if (rc < 0)
            return rc;
        if (rc > 0) {
            note_status(r, rc, status);
            return 0;
        }
        state = task_state_letter(t->tid);
        /* Process 1 of a pid namespace sleeps until all others in there have ended. */
        if (state == 'Z' || state == 'X' || !state || (state == 'S' && ++polls > SLEEP_POLLS)) {
            t->state = RUN_BLOCKED;
            return 0;
        }
        sched_yield();
    }
}

/* While a task runs user code: is its slice over, and could another run? */
static int slice_tick(struct recorder *r, struct task *t)
{
    int rc;
    char state;

    r->waiting = t->has_status ? NULL : t;
    if (exact_ns() - r->slice_start < slice_of(r, t))
        return 0;
    state = task_state_letter(t->tid);
    if (!t->has_status && (state == 'Z' || state == 'X' || !state)) {
        /* killed, and a thread-group leader, which is not reported before its threads are */
        r->waiting = NULL;
        t->dying = true;
        t->state = RUN_BLOCKED;
        return 0;
    }
    if (t->in_call)
        return 0;
    if ((rc = collect(r, false)) < 0)
        return rc;
    if (t->has_status) {
        r->waiting = NULL;
        return 0;
    }
    if (!others_ready(r, t))
        return 0;
    rc = preempt(t);
    return rc == -ESRCH ? 0 : rc;
}

/* Waits for a resumed task: until it stops, or (when its call may sleep) until it
 * sleeps while another could run. */
static int wait_resumed(struct recorder *r, struct task *t)
{
    uint64_t since = exact_ns();
    int rc, status;

    if (!t->may_sleep && !t->dying) {
        rc = waitpid(t->tid, &status, __WALL);
        if (rc < 0)
            rc = -errno;
        if (rc == -EINTR && recorder_ticked())
            return slice_tick(r, t);
        if (rc == -EINTR) {
            r->interrupt = 1;
            r->waiting = t;
            return 0;
        }
        if (rc == -ECHILD) {
            /* taken away by an exec or an exit of another thread: its status comes, if at all, by itself */
            t->state = RUN_BLOCKED;
            return 0;
        }
        if (rc < 0)
            return rc;
        note_status(r, rc, status);
        return 0;
    }
    if (t->dying)
        return wait_dying(r, t);
    for (;;) {
        if (!t->settles && !others_ready(r, t)) {
            if ((rc = collect(r, true)) == -ECHILD) {
                t->state = RUN_BLOCKED;
                return 0;
            }
            if (rc < 0)
                return rc;
            if (t->has_status)
                return 0;
            if (r->interrupt) {
                r->waiting = t;
                return 0;
            }
            /* Another has become ready. This one may be running in the kernel all the same, and
             * about to do what the other must see done. */
            continue;
        }
        rc = wait_for(t->tid, WNOHANG, &status);
        if (rc == -ECHILD) {
            t->state = RUN_BLOCKED;
            return 0;
        }
        if (rc < 0)
            return rc;
        if (rc > 0) {
            note_status(r, rc, status);
            return 0;
        }
        if (asleep(t, since)) {
            /* it may have stopped between the two looks */
            rc = wait_for(t->tid, WNOHANG, &status);
            if (rc > 0) {
                note_status(r, rc, status);
                return 0;
            }
            t->state = RUN_BLOCKED;
            return 0;
        }
        sched_yield();
    }
}

/* ---- choosing ---- */

static unsigned index_after(const struct recorder *r, const struct task *t)
{
    for (unsigned i = 0; t && i < r->n_tasks; i++)
        if (r->tasks[i] == t)
            return i + 1;
    return 0;
}

/* At a stop, where a switch costs little. */
static uint64_t slice_at_stop(const struct recorder *r, const struct task *t)
{
    uint64_t ns = slice_of(r, t);

    return r->chaos || ns < r->slice_ns ? ns : r->slice_ns;
}

/* The task to deal with next: the current one while its slice lasts, else the
 * next in turn that can go on. NULL: all sleep. */
static struct task *pick(struct recorder *r)
{
    struct task *t = r->current;
    unsigned first;

    /* What the kernel writes at a task's end has been logged: it must happen now. */
    if (t && t->dying && t->state == RUN_STOPPED)
        return t;
    /* It has run until a stop: what it ran comes before what others will run. */
    if (t && t->has_status && t->state == RUN_RUNNING)
        return t;
    if (t && t->unplaced && t->state == RUN_STOPPED)
        return t;
    if (t && task_runnable(t) && !r->rotate) {
        if (r->n_tasks == 1 || exact_ns() - r->slice_start < slice_at_stop(r, t) || t->in_call)
            return t;
        if (collect(r, false) < 0)
            return t;
    }
    if (r->rotate)
        collect(r, false);
    r->rotate = false;
    if (r->chaos)
        return chaos_pick(r);
    first = index_after(r, t);
    for (unsigned i = 0; i < r->n_tasks; i++) {
        struct task *next = r->tasks[(first + i) % r->n_tasks];

        if (task_runnable(next))
            return next;
    }
    return NULL;
}

/* ---- what a stop means ---- */

/* The kernel keeps the call's number in orig_rax until the task is back in user
 * code; interrupts and exceptions from there leave it negative. */
static bool at_call_boundary(const struct regs *regs)
{
    return (int64_t)regs->r[R_ORIG_RAX] >= 0;
}

static bool caused_by_instruction(const siginfo_t *info)
{
    switch (info->si_signo) {
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGTRAP:
        return info->si_code > 0;
    default:
        return false;
    }
}

/* rdtsc and rdtscp fault (PR_SET_TSC); their result is an event. */
static int emulate_trap(struct recorder *r, struct task *t, struct regs *regs, int kind, unsigned len)
{
    struct regs before = *regs;
    uint64_t tsc = recorder_tsc(r);
    struct event_out e = {.kind = EV_TRAP, .nr = (uint16_t)kind, .task = t->serial,
                          .regs = before.r, .base = &t->base,
                          .has_result = true, .result = (int64_t)tsc};
    bool waits;
    int rc;

    if ((rc = clock_spin(r, t, regs, &waits)))
        return rc;
    if (waits)
        r->rotate = true;
    regs->r[R_RAX] = (uint32_t)tsc;
    regs->r[R_RDX] = tsc >> 32;
    if (kind == TRAP_RDTSCP)
        regs->r[R_RCX] = 0;
    regs->r[R_RIP] += len;
    if ((rc = regs_set(t->tid, regs)))
        return rc;
    t->fresh = true;
    return evlog_put(&r->log, &e);
}

static int signal_stop(struct recorder *r, struct task *t, int sig, struct reason_info *ret)
{
    enum signal_place place = SIGNAL_IN_USER;
    struct regs regs;
    siginfo_t info;
    unsigned len;
    int rc, kind;

    if (ptrace(PTRACE_GETSIGINFO, t->tid, NULL, &info) < 0)
        return -errno;
    if ((rc = place_rewound(r, t)) || (rc = regs_get(t->tid, &regs)))
        return rc;
    if (at_call_boundary(&regs)) {
        place = SIGNAL_AT_BOUNDARY;
        t->fresh = true;
    } else if (caused_by_instruction(&info)) {
        if (sig == SIGSEGV && info.si_code == SI_KERNEL &&
            (kind = trapped_instruction(&t->mem, regs.r[R_RIP], &len)) >= 0)
            return emulate_trap(r, t, &regs, kind, len);
        place = SIGNAL_SYNC;
    } else if (t->fresh) {
        place = SIGNAL_AT_BOUNDARY;
    }
    if ((rc = take_raised(t, sig, &info)))
        return rc;
    t->unplaced = place == SIGNAL_IN_USER;
    *ret = (struct reason_info){WHY_SIGNAL, t->serial, sig, place};
    return 0;
}

static bool stops_group(int sig)
{
    return sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU;
}

/* Deals with the stop that waits in t->status. */
static int process(struct recorder *r, struct task *t, struct reason_info *ret)
{
    int status = t->status, event, sig, rc;
    unsigned long message = 0;

    t->has_status = false;
    t->state = RUN_STOPPED;
    r->n_stops++;
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
        *ret = (struct reason_info){WHY_GONE, t->serial, status, 0};
        return 0;
    }
    if ((rc = unmark_fresh(t)))
        return rc;
    sig = WSTOPSIG(status);
    event = status >> 16;
    if (spin_is_hit(t, status)) {
        t->preempting = false;
        return spun(r, t, ret);
    }
    t->at_site = false;
    if (event != PTRACE_EVENT_STOP)
        t->mm->changes.ranges.valid = false; /* it may be about to map, or back from that */
    if (sig == (SIGTRAP | 0x80) && t->preempting && !t->in_call)
        return preempted_at_entry(r, t, ret);
    if (event != PTRACE_EVENT_STOP)
        t->preempting = false; /* another stop cancels an interrupt; the next tick sends one again */
    if (sig == (SIGTRAP | 0x80))
        return t->in_call ? call_ended(r, t, ret) : call_entered(r, t, ret);
    if (event == PTRACE_EVENT_STOP) {
        if (stops_group(sig)) {
            t->request = PTRACE_LISTEN;
            return parked(r, t, ret);
        }
        if (t->preempting)
            return preempted(r, t, ret);
        t->unplaced = true; /* an interrupt that came too late */
        return 0;
    }
    if (event) {
        ptrace(PTRACE_GETEVENTMSG, t->tid, NULL, &message);
        *ret = (struct reason_info){WHY_EVENT, t->serial, event, (int64_t)message};
        return 0;
    }
    if (t->stepping && sig == SIGTRAP) {
        t->stepping = false;
        t->fresh = true;
        *ret = (struct reason_info){WHY_STEPPED, t->serial, 0, 0};
        return 0;
    }
    return signal_stop(r, t, sig, ret);
}

static int resume(struct recorder *r, struct task *t)
{
    int request = t->request, rc;

    recorder_tick_set(r);
    t->request = PTRACE_SYSCALL;
    t->unplaced = false;
    if (!(rc = spin_before_run(r, t)))
        rc = mark_fresh(t);
    if (!rc)
        rc = task_resume(t->tid, request, t->sig);
    t->sig = 0;
    if (rc == -ESRCH) {
        /* killed: its end is reported in its own time */
        t->dying = true;
        t->state = RUN_BLOCKED;
        return 0;
    }
    if (rc)
        return rc;
    t->state = request == PTRACE_LISTEN ? RUN_PARKED : RUN_RUNNING;
    return t->state == RUN_RUNNING ? wait_resumed(r, t) : 0;
}

/* A killed task fails any ptrace request with ESRCH. */
static int survive_kill(struct task *t, int rc)
{
    if (rc != -ESRCH)
        return rc;
    t->dying = true;
    t->state = RUN_BLOCKED;
    return 0;
}

static int switch_to(struct recorder *r, struct task *t)
{
    struct task *from = r->current;
    int rc = 0;

    if (from == t)
        return 0;
    if (from && from->in_call && !from->entry_logged && !from->exit_pending)
        rc = survive_kill(from, call_log_entry(r, from));
    /* what it ran before it was put back (for scratch memory) comes before what others will run */
    if (from && from->rewound && !rc)
        rc = survive_kill(from, place_rewound(r, from));
    r->current = t;
    t->spin_quiet = t->spun = false;
    r->slice_start = exact_ns();
    r->n_switches++;
    if (r->chaos)
        chaos_draw(r, r->slice_start);
    return rc;
}

/* A task that is killed (by another thread's exit, too) leaves its stop for that of its exit, which
 * must not be resumed unseen: what it stopped for before, dealt with or not, is void. */
static int look_whether_killed(struct recorder *r, struct task *t)
{
    int status, rc;

    rc = wait_for(t->tid, WNOHANG, &status);
    if (rc > 0)
        note_status(r, rc, status);
    return rc < 0 && rc != -ECHILD ? rc : 0;
}

static int step(struct recorder *r, struct reason_info *ret)
{
    struct task *t;
    bool other;
    int rc;

    if (r->waiting) {
        t = r->waiting;
        r->waiting = NULL;
        return wait_resumed(r, t);
    }
    t = pick(r);
    if (!t && r->n_strangers) {
        /* its parent has not told of it: killed right after it made it */
        r->n_strangers--;
        *ret = (struct reason_info){WHY_NEW_TASK, 0, r->strangers[r->n_strangers].tid,
                                    r->strangers[r->n_strangers].status};
        return 0;
    }
    if (!t) {
        rc = collect(r, true);
        if (rc == -ECHILD) {
            *ret = (struct reason_info){WHY_NOTHING_LEFT, 0, 0, 0};
            return 1;
        }
        return rc < 0 ? rc : 0;
    }
    other = t != r->current;
    if ((rc = switch_to(r, t)) || (other && (rc = look_whether_killed(r, t))))
        return rc;
    if (t->has_status)
        return survive_kill(t, process(r, t, ret));
    if (t->exit_pending)
        return survive_kill(t, call_finish(r, t, ret));
    return resume(r, t);
}

int recorder_run(struct recorder *r, struct reason_info *ret)
{
    int rc = 0;

    *ret = (struct reason_info){WHY_NOTHING_LEFT, 0, 0, 0};
    if ((rc = recorder_tick_start(r)))
        goto done;
    if (own_tsc(0) == 0)
        r->tsc_off = true;
    while (!rc && ret->why == WHY_NOTHING_LEFT) {
        if (r->interrupt) {
            r->interrupt = 0;
            *ret = (struct reason_info){WHY_INTERRUPTED, 0, 0, 0};
            break;
        }
        rc = step(r, ret);
    }
done:
    if (r->tsc_off)
        own_tsc(1);
    r->tsc_off = false;
    if (rc < 0)
        *ret = (struct reason_info){WHY_ERROR, r->current ? r->current->serial : 0, -rc, 0};
    return 0;
}
