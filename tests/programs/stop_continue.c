/* SIGSTOP and SIGCONT of a child as its parent sees them: WUNTRACED, WCONTINUED, SIGCHLD's code. */
#include "check.h"

static volatile sig_atomic_t continued;

static void on_continue(int signal_number)
{
    continued = signal_number;
}

int main(void)
{
    int go[2];
    CHECK(pipe(go) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(signal(SIGCONT, on_continue) != SIG_ERR);
        for (int i = 0; i < 3; i++) {
            continued = 0;
            CHECK(raise(SIGSTOP) == 0);
            CHECK(continued == SIGCONT);
        }
        await(go[0]);
        _exit(8);
    }
    int status;
    siginfo_t info;
    for (int i = 0; i < 3; i++) {
        CHECK(waitpid(child, &status, WUNTRACED) == child);
        CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
        CHECK(waitpid(child, &status, WNOHANG | WUNTRACED) == 0);
        CHECK(kill(child, SIGCONT) == 0);
        if (i < 2)
            continue; /* the next stop may come before we look: no WCONTINUED then */
        memset(&info, 0, sizeof info);
        CHECK(waitid(P_PID, (id_t)child, &info, WCONTINUED) == 0);
        CHECK(info.si_code == CLD_CONTINUED && info.si_status == SIGCONT);
    }
    /* Stopped inside a read: the read goes on afterwards. */
    await_state(child, child, 'S');
    CHECK(kill(child, SIGSTOP) == 0);
    CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
    tell(go[1]);
    CHECK(kill(child, SIGCONT) == 0);
    reap(child, 8);
    printf("child %d\n", child);
    return success();
}
