/* How a process comes to be live: attached to with all its threads, or started. */
#define _GNU_SOURCE
#include "live.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPTIONS                                                                                    \
    (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |      \
     PTRACE_O_TRACEEXEC)

/* *ret_refused: why a thread that this process traces already was not taken. */
static int seize_new_threads(struct live *l, pid_t pid, struct space *s, unsigned *ret_new,
                             int *ret_refused)
{
    char path[40];
    struct dirent *entry;
    int rc = 0;
    DIR *dir;

    *ret_new = 0;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    dir = opendir(path);
    if (!dir)
        return errno == ENOENT ? -ESRCH : -errno;
    while (!rc && (entry = readdir(dir))) {
        pid_t tid = atoi(entry->d_name);
        struct task *t;

        if (tid <= 0 || task_find(l, tid))
            continue;
        if (ptrace(PTRACE_SEIZE, tid, NULL, (void *)(long)OPTIONS) < 0) {
            char state = task_state_letter(tid);

            /* gone meanwhile, or a leader that ended before its threads; a thread whose
             * creator we have is ours already and tells by its first stop */
            if (errno != ESRCH && state != 'Z' && state != 'X' && state != 0) {
                int err = errno;
                char status_path[64], text[4096], *at;
                ssize_t n = -1;
                int fd;

                snprintf(status_path, sizeof status_path, "/proc/%d/task/%d/status", pid, tid);
                fd = open(status_path, O_RDONLY | O_CLOEXEC);
                if (fd >= 0) {
                    n = read(fd, text, sizeof text - 1);
                    close(fd);
                }
                text[n > 0 ? n : 0] = 0;
                at = strstr(text, "\nTracerPid:");
                if (!at || atoi(at + 11) != getpid())
                    rc = -err;
                *ret_refused = -err;
            }
            continue;
        }
        rc = task_create(l, tid, pid, s, TASK_RUNNING, &t);
        ++*ret_new;
    }
    closedir(dir);
    return rc;
}

int live_attach(struct live *l, pid_t pid, struct space **ret)
{
    struct space *s;
    unsigned fresh;
    int rc, refused = -ESRCH;

    rc = space_create(l, pid, &s);
    if (rc)
        return rc == -ENOENT ? -ESRCH : rc;
    /* Threads made by one that we have come to us by themselves; those made by one
     * we did not have yet are in the list the next time. */
    do {
        rc = seize_new_threads(l, pid, s, &fresh, &refused);
    } while (!rc && fresh);
    if (!rc && !s->tasks)
        rc = refused;
    if (!rc)
        rc = tasks_pause(l, s);
    if (rc) {
        if (s->tasks)
            live_detach(l, s, false);
        else
            space_destroy(l, s);
        return rc;
    }
    *ret = s;
    return 0;
}

static _Noreturn void child(const char *path, char *const argv[], char *const envp[], pid_t group,
                            int go, int failed)
{
    char byte;
    int err;

    if (group > 0)
        setpgid(0, group);
    signal(SIGTTOU, SIG_DFL);
    signal(SIGPIPE, SIG_DFL); /* CPython ignores these; a program expects them so */
    signal(SIGXFSZ, SIG_DFL);
    while (read(go, &byte, 1) < 0 && errno == EINTR)
        ;
    execve(path, argv, envp);
    err = errno;
    if (write(failed, &err, sizeof err) < 0)
        _exit(126);
    _exit(127);
}

static int to_exec(pid_t pid, int go, int failed)
{
    int status, err, rc;

    if (ptrace(PTRACE_SEIZE, pid, NULL, (void *)(long)OPTIONS) < 0)
        return -errno;
    if (write(go, "g", 1) != 1)
        return -EIO;
    for (;;) {
        rc = wait_for(pid, 0, &status);
        if (rc < 0)
            return rc;
        if (!WIFSTOPPED(status))
            return read(failed, &err, sizeof err) == sizeof err ? -err : -EIO;
        if (status >> 16 == PTRACE_EVENT_EXEC)
            return 0;
        rc = task_resume(pid, PTRACE_CONT, status >> 16 ? 0 : WSTOPSIG(status));
        if (rc)
            return rc;
    }
}

int live_start(struct live *l, const char *path, char *const argv[], char *const envp[],
               pid_t group, struct space **ret)
{
    int go[2], failed[2], rc;
    struct space *s = NULL;
    struct task *t;
    pid_t pid;

    if (pipe2(go, O_CLOEXEC) < 0)
        return -errno;
    if (pipe2(failed, O_CLOEXEC) < 0) {
        rc = -errno;
        goto close_go;
    }
    pid = fork();
    if (pid == 0)
        child(path, argv, envp, group, go[0], failed[1]);
    if (pid < 0) {
        rc = -errno;
        goto close_failed;
    }
    close(failed[1]);
    failed[1] = -1;
    rc = to_exec(pid, go[1], failed[0]);
    if (!rc)
        rc = space_create(l, pid, &s);
    if (!rc)
        rc = task_create(l, pid, pid, s, TASK_PAUSED, &t);
    if (rc) {
        if (s)
            space_destroy(l, s);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, __WALL);
    } else {
        *ret = s;
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
