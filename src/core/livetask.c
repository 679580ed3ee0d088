/* Tasks and address spaces of live programs: stopping, stepping, letting go, new ones. */
#define _GNU_SOURCE
#include "live.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct task *task_find(const struct live *l, pid_t tid)
{
    struct task *t = l->tasks[tid & 255];

    while (t && t->tid != tid)
        t = t->next;
    return t;
}

int task_create(struct live *l, pid_t tid, pid_t tgid, struct space *s, enum task_state state,
                struct task **ret)
{
    struct task *t = calloc(1, sizeof *t);

    if (!t)
        return -ENOMEM;
    t->tid = tid;
    t->tgid = tgid;
    t->space = s;
    t->state = state;
    t->next = l->tasks[tid & 255];
    l->tasks[tid & 255] = t;
    l->n_tasks++;
    s->tasks++;
    *ret = t;
    return 0;
}

void task_destroy(struct live *l, struct task *t)
{
    struct task **link = &l->tasks[t->tid & 255];

    while (*link != t)
        link = &(*link)->next;
    *link = t->next;
    if (t->has_pending)
        l->n_waiting--;
    l->n_tasks--;
    space_leave(l, t);
    stash_free(&t->stash);
    free(t);
}

void task_set_pending(struct live *l, struct task *t, int status)
{
    if (!t->has_pending)
        l->n_waiting++;
    t->has_pending = true;
    t->pending = status;
    t->state = TASK_PAUSED;
}

bool event_stop(int status)
{
    return WIFSTOPPED(status) && status >> 16 == PTRACE_EVENT_STOP;
}

/* -- spaces */

int space_create(struct live *l, pid_t tgid, struct space **ret)
{
    struct space *s = calloc(1, sizeof *s);
    int rc;

    if (!s)
        return -ENOMEM;
    rc = mem_open(&s->mem, tgid);
    if (rc) {
        free(s);
        return rc;
    }
    s->id = l->next_space++;
    s->tgid = tgid;
    s->next = l->spaces;
    l->spaces = s;
    *ret = s;
    return 0;
}

void space_destroy(struct live *l, struct space *s)
{
    struct space **link = &l->spaces;

    while (*link != s)
        link = &(*link)->next;
    *link = s->next;
    sites_retire(l, s);
    if (s->guarded)
        guardian_drop_file(&l->guardian, s->guard_file);
    mem_close(&s->mem);
    free(s->over_addrs);
    free(s->over_bytes);
    free(s->gone);
    free(s);
}

struct space *space_find(const struct live *l, uint32_t id)
{
    struct space *s = l->spaces;

    while (s && s->id != id)
        s = s->next;
    return s;
}

/* The task no longer counts in its space, which ends with its last one. */
void space_leave(struct live *l, struct task *t)
{
    struct space *s = t->space;

    t->space = NULL;
    if (s && --s->tasks == 0)
        space_destroy(l, s);
}

/* -- going on */

/* Signals that could not be injected go back into the thread's queue. */
void task_requeue(const struct task *t, const struct stashed_signal *item)
{
    siginfo_t info;

    memset(&info, 0, sizeof info);
    memcpy(&info, item->info, sizeof item->info);
    /* The kernel lets nobody claim to be the kernel; then the number at least. */
    if (syscall(SYS_rt_tgsigqueueinfo, t->tgid, t->tid, item->signo, &info) < 0)
        syscall(SYS_tgkill, t->tgid, t->tid, item->signo);
}

int task_go(struct live *l, struct task *t, int signo)
{
    int request = t->group ? PTRACE_LISTEN : PTRACE_CONT, rc;
    struct stashed_signal item;

    if (l->frozen) { /* when the pause ends */
        t->at_patch = 0;
        t->resume_signo = signo;
        t->state = TASK_PAUSED;
        return 0;
    }
    t->resume_signo = 0;
    if (!signo && t->stash.count && t->signal_stop) {
        stash_pop(&t->stash, &item);
        if (ptrace(PTRACE_SETSIGINFO, t->tid, NULL, item.info) == 0)
            signo = item.signo;
    }
    while (t->stash.count) {
        stash_pop(&t->stash, &item);
        task_requeue(t, &item);
    }
    t->at_patch = 0;
    t->signal_stop = false;
    rc = task_resume(t->tid, request, signo);
    if (rc && rc != -ESRCH)
        return rc;
    /* ESRCH: killed; its end will be told. */
    t->state = t->group ? TASK_LISTEN : TASK_RUNNING;
    t->group = false;
    return 0;
}

/* Whether a signal that the task's own last instruction caused is still in its
 * queue: the stop that we ask for comes before it (kernel/signal.c, get_signal). */
static bool trap_queued(pid_t tid)
{
    struct __ptrace_peeksiginfo_args which = {0, 0, 1};
    siginfo_t info;

    for (; ptrace(PTRACE_PEEKSIGINFO, tid, &which, &info) == 1; which.off++)
        if (info.si_code > 0 && (info.si_signo == SIGTRAP || info.si_signo == SIGSEGV ||
                                 info.si_signo == SIGBUS || info.si_signo == SIGILL ||
                                 info.si_signo == SIGFPE))
            return true;
    return false;
}

/* Waits until a task that was told to stop, or that steps, has. -ESRCH: it has
 * ended, and its status comes later: a leader's when its other threads have been
 * waited for. */
int task_wait(const struct task *t, int *ret_status)
{
    const struct timespec nap = {0, 20000};

    if (t->tid != t->tgid)
        return wait_for(t->tid, 0, ret_status);
    for (unsigned tries = 0;; tries++) {
        int rc = wait_for(t->tid, WNOHANG, ret_status);

        if (rc)
            return rc;
        if (tries > 20) {
            char state = task_state_letter(t->tid);

            if (state == 'Z' || state == 'X' || state == 0) {
                rc = wait_for(t->tid, WNOHANG, ret_status);
                return rc ? rc : -ESRCH;
            }
        }
        if (tries > 3)
            nanosleep(&nap, NULL);
        else
            sched_yield();
    }
}

/* Waits for a task that is about to stop; the status waits its turn unless it
 * is the stop that was asked for. */
static int collect_stop(struct live *l, struct task *t)
{
    bool rejoin = false; /* a group stop */
    int status, rc;

again:
    if (early_take(l, t->tid, &status))
        rc = t->tid;
    else
        rc = task_wait(t, &status);
    if (rc == -ESRCH) {
        t->state = TASK_PAUSED; /* for good */
        return 0;
    }
    if (rc == -ECHILD) {
        /* a leader that an exec of another thread removed, or a thread reaped otherwise */
        task_set_pending(l, t, 0);
        return 0;
    }
    if (rc < 0)
        return rc;
    if (event_stop(status) && t->state != TASK_NEW) {
        t->interrupting = false;
        t->signal_stop = false;
        if (trap_queued(t->tid)) {
            /* Its registers are those after a trap that nobody has dealt with: it
             * has to be told first. That stop comes at once. */
            rejoin = rejoin || WSTOPSIG(status) != SIGTRAP;
            rc = task_resume(t->tid, PTRACE_CONT, 0);
            if (rc && rc != -ESRCH)
                return rc;
            goto again;
        }
        t->group = WSTOPSIG(status) != SIGTRAP;
        t->state = TASK_PAUSED;
        return 0;
    }
    if (rejoin && WIFSTOPPED(status) && ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL) == 0)
        t->interrupting = true;
    t->fresh = t->state == TASK_NEW;
    task_set_pending(l, t, status);
    return 0;
}

int task_stop(struct live *l, struct task *t)
{
    if (t->state == TASK_PAUSED || t->state == TASK_HELD)
        return 0;
    if (t->state != TASK_NEW && !t->interrupting) {
        if (ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL) < 0 && errno != ESRCH)
            return -errno;
        t->interrupting = true;
    }
    return collect_stop(l, t);
}

/* A new task that a pending status tells of, and nobody has entered yet, runs on
 * its own: it has to be stopped, too. */
static int enter_new(struct live *l, const struct task *t);

int tasks_pause(struct live *l, struct space *s)
{
    bool again = true;

    while (again) {
        again = false;
        for (size_t i = 0; i < 256; i++) {
            for (struct task *t = l->tasks[i]; t; t = t->next) {
                int rc;

                if ((s && t->space != s) || t->state == TASK_PAUSED || t->state == TASK_HELD)
                    continue;
                rc = task_stop(l, t);
                if (rc)
                    return rc;
                rc = enter_new(l, t);
                if (rc < 0)
                    return rc;
                again = again || rc > 0;
            }
        }
    }
    return 0;
}

int live_pause(struct live *l)
{
    l->frozen = true;
    return tasks_pause(l, NULL);
}

int live_unpause(struct live *l)
{
    l->frozen = false;
    return tasks_unpause(l, NULL);
}

int tasks_unpause(struct live *l, struct space *s)
{
    int result = 0;

    if (l->frozen)
        return 0;

    for (size_t i = 0; i < 256; i++)
        for (struct task *t = l->tasks[i]; t; t = t->next)
            if ((!s || t->space == s) && t->state == TASK_PAUSED && !t->has_pending) {
                int rc = t->at_patch ? live_continue(l, t->tid, t->resume_signo)
                                     : task_go(l, t, t->resume_signo);

                if (rc && !result)
                    result = rc;
            }
    return result;
}

static bool is_creation(int status)
{
    int event = status >> 16;

    return WIFSTOPPED(status) && (event == PTRACE_EVENT_CLONE || event == PTRACE_EVENT_FORK ||
                                  event == PTRACE_EVENT_VFORK);
}

#define CLONE_VM_FLAG 0x100
#define CLONE_THREAD_FLAG 0x10000

/* What the call that made the task shares: from the creator's registers at the event. */
static int creation_flags(const struct task *t, int event, uint64_t *ret)
{
    struct regs r;
    int rc = regs_get(t->tid, &r);

    if (rc)
        return rc;
    *ret = 0;
    if (r.r[R_CS] != 0x33)
        *ret = event == PTRACE_EVENT_CLONE ? CLONE_VM_FLAG | CLONE_THREAD_FLAG : 0;
    else if (r.r[R_ORIG_RAX] == SYS_clone)
        *ret = r.r[R_RDI];
    else if (r.r[R_ORIG_RAX] == SYS_clone3)
        rc = mem_read(&t->space->mem, r.r[R_RDI], ret, sizeof *ret);
    else if (event == PTRACE_EVENT_VFORK)
        *ret = CLONE_VM_FLAG;
    return rc;
}

static int enter_new(struct live *l, const struct task *t)
{
    unsigned long message;
    struct space *space = t->space;
    struct task *child;
    uint64_t flags;
    pid_t tgid;
    int rc;

    if (!t->has_pending || !is_creation(t->pending))
        return 0;
    if (ptrace(PTRACE_GETEVENTMSG, t->tid, NULL, &message) < 0)
        return errno == ESRCH ? 0 : -errno;
    if (task_find(l, (pid_t)message))
        return 0; /* entered before */
    rc = creation_flags(t, t->pending >> 16, &flags);
    if (rc)
        return rc == -ESRCH ? 0 : rc;
    tgid = flags & CLONE_THREAD_FLAG ? t->tgid : (pid_t)message;
    if (!(flags & CLONE_VM_FLAG)) {
        rc = space_create(l, (pid_t)message, &space);
        if (rc) /* killed already */
            return rc == -ESRCH || rc == -ENOENT ? 0 : rc;
        /* It runs nothing before its first stop, and its creator is still at the
         * event: what it copied is what is there now. */
        rc = patches_clean_copy(t->space, &space->mem);
        if (rc && rc != -ESRCH) {
            space_destroy(l, space);
            return rc;
        }
    }
    rc = task_create(l, (pid_t)message, tgid, space, TASK_NEW, &child);
    if (rc)
        return rc;
    child->parent = t->tgid;
    child->vfork = (flags & CLONE_VM_FLAG) && !(flags & CLONE_THREAD_FLAG);
    return 1;
}

int task_enter_new(struct live *l, struct task *t, int status)
{
    int rc;

    t->has_pending = true; /* as enter_new expects it */
    t->pending = status;
    rc = enter_new(l, t);
    t->has_pending = false;
    return rc < 0 ? rc : 0;
}

/* -- single steps */

static bool caused_here(int signo, int code)
{
    return code > 0 && (signo == SIGSEGV || signo == SIGBUS || signo == SIGILL || signo == SIGFPE);
}

/* One instruction of a stopped task; nobody else may be able to meet what was
 * changed for it. Signals that come in between are kept for later. */
int task_step(struct live *l, struct task *t)
{
    bool rejoin = t->group; /* a group stop, when this is over */

    t->group = false;
    for (;;) {
        siginfo_t info;
        int status, rc = task_resume(t->tid, PTRACE_SINGLESTEP, 0);

        if (rc && rc != -ESRCH)
            return rc;
        rc = task_wait(t, &status);
        if (rc == -ESRCH) {
            t->state = TASK_RUNNING; /* its end is told in time */
            return 1;
        }
        if (rc < 0)
            return rc;
        if (!WIFSTOPPED(status)) {
            task_set_pending(l, t, status);
            return 1;
        }
        if (event_stop(status)) {
            t->interrupting = false;
            rejoin = rejoin || WSTOPSIG(status) != SIGTRAP;
            continue;
        }
        if (status >> 16) {
            task_set_pending(l, t, status);
            return 1;
        }
        if (ptrace(PTRACE_GETSIGINFO, t->tid, NULL, &info) < 0) {
            if (errno == ESRCH)
                continue; /* killed: the next wait says so */
            return -errno;
        }
        if (WSTOPSIG(status) == SIGTRAP && (info.si_code == TRAP_TRACE || info.si_code == TRAP_BRKPT)) {
            t->signal_stop = true;
            if (rejoin && ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL) == 0)
                t->interrupting = true;
            return 0;
        }
        if (WSTOPSIG(status) == SIGTRAP || caused_here(WSTOPSIG(status), info.si_code)) {
            task_set_pending(l, t, status);
            return 1;
        }
        rc = stash_add(&t->stash, t->tid, WSTOPSIG(status));
        if (rc && rc != -ESRCH)
            return rc;
    }
}

int live_call(struct live *l, pid_t tid, uint64_t nr, const uint64_t args[6], int64_t *ret)
{
    struct task *t = task_find(l, tid);
    struct regs saved, r, now;
    int rc, tries = 0;

    if (!t || (t->state != TASK_HELD && t->state != TASK_PAUSED))
        return -ESRCH;
    if (t->has_pending || t->resume_signo)
        return -EBUSY; /* a step would lose what it stopped for */
    if (!t->space->gadget)
        return -ENOSYS;
    rc = regs_get(tid, &saved);
    if (rc)
        return rc;
    r = saved;
    r.r[R_RIP] = t->space->gadget;
    r.r[R_RAX] = nr;
    r.r[R_ORIG_RAX] = ~0ull; /* the call it may be in is made again afterwards */
    r.r[R_RDI] = args[0];
    r.r[R_RSI] = args[1];
    r.r[R_RDX] = args[2];
    r.r[R_R10] = args[3];
    r.r[R_R8] = args[4];
    r.r[R_R9] = args[5];
    r.r[R_EFLAGS] &= ~0x100ull;
    for (;;) {
        rc = regs_set(tid, &r);
        if (rc)
            return rc;
        rc = task_step(l, t);
        if (rc) { /* ended, or stopped for something else: the call was not made */
            int back = regs_set(tid, &saved);

            return rc < 0 ? rc : back ? back : -EBUSY;
        }
        rc = regs_get(tid, &now);
        if (rc)
            return rc;
        if (now.r[R_RIP] == r.r[R_RIP] + 2)
            break;
        if (now.r[R_RIP] != r.r[R_RIP] || ++tries > 2) {
            rc = regs_set(tid, &saved);
            return rc ? rc : -EIO;
        }
        /* It was inside a call (an exec or clone event): what the step saw is that
         * one's end, and what it leaves in rax is what the program has to get. */
        saved.r[R_RAX] = now.r[R_RAX];
    }
    *ret = (int64_t)now.r[R_RAX];
    /* This stop is on the way to signal delivery, where the kernel looks after
     * calls to be restarted: the registers decide, and they are the old ones. */
    return regs_set(tid, &saved);
}
