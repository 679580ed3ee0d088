/* SIGCHLD: counted in a handler, its siginfo, no zombies with SA_NOCLDWAIT, WNOHANG in it. */
#include "check.h"

#define COUNT 20

static volatile int reaped;
static pid_t children[COUNT];

static void on_child(int signal_number, siginfo_t *info, void *context)
{
    (void)context;
    int status;
    pid_t pid;
    CHECK(signal_number == SIGCHLD && info->si_code == CLD_EXITED && info->si_pid > 0);
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        CHECK(WIFEXITED(status));
        children[WEXITSTATUS(status)] = pid;
        reaped++;
    }
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = on_child, .sa_flags = SA_SIGINFO | SA_RESTART};
    CHECK(sigaction(SIGCHLD, &action, NULL) == 0);
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    CHECK(sigprocmask(SIG_BLOCK, &set, &old) == 0);
    pid_t forked[COUNT];
    for (int i = 0; i < COUNT; i++) {
        forked[i] = fork();
        CHECK(forked[i] >= 0);
        if (forked[i] == 0)
            _exit(i);
    }
    while (reaped < COUNT)
        CHECK_FAILS(sigsuspend(&old), EINTR);
    CHECK(sigprocmask(SIG_SETMASK, &old, NULL) == 0);
    for (int i = 0; i < COUNT; i++)
        CHECK(children[i] == forked[i]);
    /* In the middle of other calls, restarted: each of these reads ends with data. */
    reaped = 0;
    int ends[2];
    CHECK(pipe(ends) == 0);
    for (int i = 0; i < COUNT; i++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            int alive[2]; /* closed when the child has died: then its child tells */
            CHECK(pipe(alive) == 0);
            pid_t grandchild = fork();
            CHECK(grandchild >= 0);
            if (grandchild == 0) {
                char byte;
                close(alive[1]);
                CHECK(read(alive[0], &byte, 1) == 0);
                tell(ends[1]);
                _exit(0);
            }
            _exit(i);
        }
        char byte;
        CHECK(read(ends[0], &byte, 1) == 1);
    }
    while (reaped < COUNT) /* the last may be dying still */
        CHECK_FAILS(sigsuspend(&old), EINTR);
    action = (struct sigaction){.sa_handler = SIG_IGN};
    CHECK(sigaction(SIGCHLD, &action, NULL) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        _exit(0);
    CHECK_FAILS(waitpid(child, NULL, 0), ECHILD); /* waits, then there is nothing */
    return success();
}
