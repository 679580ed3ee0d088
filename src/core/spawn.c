/* Starting the first task: a fork that is seized before it executes the program. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "record.h"
#include "replay.h"

struct spawn {
    const char *path;
    char *const *argv;
    char *const *envp;
    int cpu;
    bool alone; /* a process group of its own, default signals, no address randomisation */
};

static void child(const struct spawn *s, int go, int failed)
{
    sigset_t none;
    char byte;
    int err;

    if (s->cpu >= 0) {
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(s->cpu, &set);
        sched_setaffinity(0, sizeof set, &set);
    }
    if (s->alone) {
        /* Not a session: that makes a scheduling group (sched(7), autogroup), and supervisor and task
         * would wait for other groups' turns at each stop. */
        setpgid(0, 0);
        personality(ADDR_NO_RANDOMIZE);
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
    } else {
        /* CPython ignores these at start-up; what it found before is not known */
        signal(SIGPIPE, SIG_DFL);
        signal(SIGXFSZ, SIG_DFL);
    }
    prctl(PR_SET_TSC, PR_TSC_SIGSEGV);
    while (read(go, &byte, 1) < 0 && errno == EINTR)
        ;
    execve(s->path, s->argv, s->envp);
    err = errno;
    if (write(failed, &err, sizeof err) < 0)
        _exit(126);
    _exit(127);
}

static int seize_and_start(int tid, long options, int go, int failed)
{
    int status, err, rc;

    if (ptrace(PTRACE_SEIZE, tid, NULL, (void *)options) < 0)
        return -errno;
    if (write(go, "g", 1) != 1)
        return -EIO;
    for (;;) {
        if ((rc = wait_for(tid, 0, &status)) < 0)
            return rc;
        if (!WIFSTOPPED(status)) {
            /* the exec failed: it says why before it exits */
            if (read(failed, &err, sizeof err) == sizeof err)
                return -err;
            return -EIO;
        }
        if (status >> 16 == PTRACE_EVENT_EXEC)
            return 0;
        if (status >> 16 == PTRACE_EVENT_EXIT) {
            task_resume(tid, PTRACE_CONT, 0);
            continue;
        }
        if (task_resume(tid, PTRACE_CONT, status >> 16 ? 0 : WSTOPSIG(status)))
            return -ESRCH;
    }
}

static int spawn(const struct spawn *s, int *ret_tid)
{
    int go[2], failed[2], rc;
    pid_t tid;

    if (pipe2(go, O_CLOEXEC) < 0)
        return -errno;
    if (pipe2(failed, O_CLOEXEC) < 0) {
        rc = -errno;
        goto close_go;
    }
    tid = fork();
    if (tid == 0)
        child(s, go[0], failed[1]);
    if (tid < 0) {
        rc = -errno;
        goto close_failed;
    }
    close(failed[1]);
    failed[1] = -1;
    rc = seize_and_start(tid, s->alone ? TRACE_OPTIONS : RECORD_OPTIONS, go[1], failed[0]);
    if (rc) {
        kill(tid, SIGKILL);
        waitpid(tid, NULL, __WALL);
    } else {
        *ret_tid = tid;
    }
close_failed:
    close(failed[0]);
    if (failed[1] >= 0)
        close(failed[1]);
close_go:
    close(go[0]);
    close(go[1]);
    return rc;
}

int recorder_spawn(const char *path, char *const argv[], char *const envp[], int cpu, int *ret_tid)
{
    const struct spawn s = {path, argv, envp, cpu, false};

    return spawn(&s, ret_tid);
}

int replayer_spawn(const char *agent_path, int cpu, int *ret_tid)
{
    char *const argv[] = {(char *)"relive-agent", NULL};
    char *const envp[] = {NULL};
    const struct spawn s = {agent_path, argv, envp, cpu, true};

    return spawn(&s, ret_tid);
}
