/*
 * Signals whose default action kills: children by each of them, then SIGTERM for itself.
 * @status SIGTERM
 */
#include "check.h"
#include <sys/prctl.h>

int main(void)
{
    const int fatal[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGABRT, SIGKILL, SIGUSR1,
                                SIGUSR2, SIGPIPE, SIGALRM, SIGXCPU, SIGSYS, SIGRTMIN + 3};
    CHECK(prctl(PR_SET_DUMPABLE, 0) == 0);
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            signal(fatal[i], SIG_DFL);
            kill(getpid(), fatal[i]);
            _exit(1);
        }
        reap_killed(child, fatal[i]);
    }
    success();
    kill(getpid(), SIGTERM);
    return 0;
}
