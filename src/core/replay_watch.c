/* A replayed task that runs on and on: is it lost?
 *
 * When replay and recording disagree in a way that no event shows (a loop that waits for something
 * that does not come), the task never reaches its next event. The recording tells how long
 * the interval can have taken: all its tasks share a core, so no longer than the time between two
 * events. Once a second a timer interrupts the wait for the task; it has this moment to
 * compare, and Python its chance to see Ctrl-C. */
#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "replay.h"

#define WATCH_SECONDS 1
/* The events' clock moves in steps, of a tick (CLOCK_MONOTONIC_COARSE; 10 ms at CONFIG_HZ=100). */
#define CLOCK_STEP_MS 10u
static volatile sig_atomic_t ticked;

static int watch_signal(void)
{
    return SIGRTMIN + 12;
}

static void on_tick(int signo)
{
    (void)signo;
    ticked = 1;
}

int watch_start(struct replayer *p)
{
    struct sigaction action = {.sa_handler = on_tick}; /* no SA_RESTART */
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = watch_signal()};
    const struct itimerspec spec = {{WATCH_SECONDS, 0}, {WATCH_SECONDS, 0}};

    if (p->watch.has_timer)
        return 0;
    event._sigev_un._tid = (int)syscall(SYS_gettid);
    if (sigaction(watch_signal(), &action, NULL) ||
        timer_create(CLOCK_MONOTONIC, &event, &p->watch.timer))
        return -errno;
    p->watch.has_timer = true;
    return timer_settime(p->watch.timer, 0, &spec, NULL) ? -errno : 0;
}

void watch_stop(struct replayer *p)
{
    if (p->watch.has_timer)
        timer_delete(p->watch.timer);
    p->watch.has_timer = false;
}

uint64_t watch_interval_ms(const struct replayer *p)
{
    return (uint64_t)p->event_ms + CLOCK_STEP_MS;
}

void watch_anew(struct replayer *p)
{
    p->watch.event = UINT64_MAX;
}

/* Whether the task has used more than its time on the way to the event at hand. Measured from
 * the first look. */
static bool over(struct replayer *p, const struct rtask *t)
{
    struct watch *w = &p->watch;
    uint64_t now = task_cpu_ns(t->tid);

    if (w->event != p->number || w->serial != t->serial || now < w->start) {
        w->event = p->number;
        w->serial = t->serial;
        w->start = now;
        return false;
    }
    w->limit = w->patience + 1000000ull * watch_interval_ms(p) * w->factor;
    return now - w->start > w->limit;
}

/* A wait for the task was interrupted: 0 to go on waiting, or -EINTR. */
static int interrupted(struct replayer *p, struct rtask *t)
{
    int rc = 0;

    if (p->check) {
        own_tsc(1); /* what Python runs now may read clocks */
        rc = p->check();
        own_tsc(0);
    }
    if (rc)
        return -EINTR;
    if (!ticked)
        return 0;
    ticked = 0;
    if (!p->watch.lost && over(p, t)) {
        if (ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL) < 0 && errno != ESRCH)
            return -errno;
        p->watch.lost = true;
    }
    return 0;
}

int watch_wait(struct replayer *p, struct rtask *t, int *ret_status)
{
    p->watch.lost = false;
    for (;;) {
        int rc;

        /* a task that stops all the time is hardly ever waited for when the timer goes off */
        if (ticked && (rc = interrupted(p, t)))
            return rc;
        if (waitpid(t->tid, ret_status, __WALL) >= 0)
            break;
        if (errno != EINTR)
            return -errno;
        if ((rc = interrupted(p, t)))
            return rc;
    }
    /* every stop but the one asked for cancels the interrupt */
    if (*ret_status >> 16 != PTRACE_EVENT_STOP)
        p->watch.lost = false;
    return 0;
}

#define SHORTEST_NS 20000u

int replay_run_for(struct replayer *p, struct rtask *t, uint64_t ns, int *ret_status)
{
    uint64_t start = task_cpu_ns(t->tid);
    int rc;

    for (;;) {
        uint64_t used = task_cpu_ns(t->tid) - start, left;
        struct timespec time;

        if (used >= ns)
            return 0;
        left = ns - used < SHORTEST_NS ? SHORTEST_NS : ns - used;
        time = (struct timespec){(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
        if ((rc = replay_settle(t)) || (rc = task_resume(t->tid, PTRACE_SYSEMU, 0)))
            return rc;
        nanosleep(&time, NULL); /* woken early: it looks again */
        if (ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL) < 0)
            return -errno;
        if ((rc = watch_wait(p, t, ret_status)))
            return rc;
        if (*ret_status >> 16 != PTRACE_EVENT_STOP)
            return 1;
    }
}
