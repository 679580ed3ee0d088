/* Waiting for tasks: nobody else's children, and on the core of the task that hits. */
#define _GNU_SOURCE
#include "live.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define POLL_NS 300000
/* Hits of one task in a row before this thread follows it, and between looks. */
#define LOOK_EVERY 512

int early_add(struct live *l, pid_t tid, int status)
{
    if (l->n_early == l->early_cap) {
        size_t cap = l->early_cap ? 2 * l->early_cap : 16;
        void *more = realloc(l->early, cap * sizeof *l->early);

        if (!more)
            return -ENOMEM;
        l->early = more;
        l->early_cap = cap;
    }
    l->early[l->n_early].tid = tid;
    l->early[l->n_early++].status = status;
    return 0;
}

bool early_take(struct live *l, pid_t tid, int *ret_status)
{
    for (size_t i = 0; i < l->n_early; i++) {
        if (l->early[i].tid != tid)
            continue;
        *ret_status = l->early[i].status;
        l->early[i] = l->early[--l->n_early];
        return true;
    }
    return false;
}

static bool is_waited_for(const struct task *t)
{
    return t->state == TASK_RUNNING || t->state == TASK_NEW || t->state == TASK_LISTEN ||
           !t->has_pending;
}

/* Every task by itself: while a child that is none of ours waits at the head of
 * the kernel's list, a wait for any child would never get past it. */
static int poll_tasks(struct live *l, pid_t *ret_tid, int *ret_status)
{
    const struct timespec nap = {0, POLL_NS};

    for (;;) {
        for (size_t i = 0; i < 256; i++)
            for (const struct task *t = l->tasks[i]; t; t = t->next) {
                pid_t got;

                if (!is_waited_for(t))
                    continue;
                got = waitpid(t->tid, ret_status, __WALL | WNOHANG);
                if (got > 0) {
                    *ret_tid = got;
                    return 0;
                }
            }
        if (nanosleep(&nap, NULL) < 0)
            return -EINTR;
    }
}

int live_wait(struct live *l, pid_t *ret_tid, int *ret_status)
{
    pid_t only = 0;

    if (l->n_tasks == 1)
        for (size_t i = 0; i < 256 && !only; i++)
            if (l->tasks[i])
                only = l->tasks[i]->tid;
    if (only) {
        pid_t got = waitpid(only, ret_status, __WALL);

        if (got < 0)
            return -errno;
        *ret_tid = got;
        return 0;
    }
    if (!l->strangers) {
        siginfo_t info;
        pid_t got;

        info.si_pid = 0;
        if (waitid(P_ALL, 0, &info, WEXITED | WNOWAIT | __WALL | __WNOTHREAD) < 0)
            return -errno;
        if (info.si_code == CLD_TRAPPED || task_find(l, info.si_pid)) {
            got = waitpid(info.si_pid, ret_status, __WALL);
            if (got < 0)
                return -errno;
            *ret_tid = got;
            return 0;
        }
        l->strangers = true;
    }
    l->strangers = false; /* looked for again the next time */
    return poll_tasks(l, ret_tid, ret_status);
}

static int core_of(pid_t tid)
{
    char path[40], text[1024], *at;
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "/proc/%d/stat", tid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return -1;
    text[n] = 0;
    at = strrchr(text, ')');
    /* proc(5): the name is field 2, the processor field 39 */
    for (int field = 2; at && field < 39; field++)
        at = strchr(at + 1, ' ');
    return at ? atoi(at + 1) : -1;
}

/* A stop costs a third when tracer and tracee share a core. */
void live_follow_core(struct live *l, pid_t tid)
{
    if (!l->options.one_core || ++l->since_look < LOOK_EVERY)
        return;
    l->since_look = 0;
    if (!l->own_cpus_known) {
        if (sched_getaffinity(0, sizeof l->own_cpus, &l->own_cpus) < 0) {
            l->options.one_core = false;
            return;
        }
        l->own_cpus_known = true;
    }
    if (tid == l->last_tid) {
        int core = core_of(tid);
        cpu_set_t set;

        if (core < 0 || core >= CPU_SETSIZE || (l->moved && core == l->core))
            return;
        CPU_ZERO(&set);
        CPU_SET(core, &set);
        if (sched_setaffinity(0, sizeof set, &set) == 0) {
            l->moved = true;
            l->core = core;
        }
    } else if (l->moved) { /* several tasks hit: no core is the right one */
        sched_setaffinity(0, sizeof l->own_cpus, &l->own_cpus);
        l->moved = false;
    }
    l->last_tid = tid;
}
