/* fork: copies of memory, exit statuses, wait4 and waitid, an adopted grandchild. */
#include "check.h"
#include <sys/prctl.h>
#include <sys/resource.h>

static int global = 1;

int main(void)
{
    int ready[2], go[2];
    CHECK(pipe(ready) == 0 && pipe(go) == 0);
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);

    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        global = 2;
        pid_t grandchild = fork();
        CHECK(grandchild >= 0);
        if (grandchild == 0) {
            CHECK(global == 2);
            await(go[0]);
            _exit(7);
        }
        CHECK(write(ready[1], &grandchild, sizeof grandchild) == sizeof grandchild);
        _exit(42);
    }
    CHECK(global == 1);
    pid_t grandchild;
    CHECK(read(ready[0], &grandchild, sizeof grandchild) == sizeof grandchild);

    siginfo_t info = {0};
    CHECK(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) == 0);
    CHECK(info.si_pid == child && info.si_status == 42 && info.si_code == CLD_EXITED);
    struct rusage usage;
    int status;
    CHECK(wait4(child, &status, 0, &usage) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    CHECK(waitpid(grandchild, &status, WNOHANG) == 0); /* ours now, and still alive */
    tell(go[1]);
    reap(grandchild, 7);
    CHECK_FAILS(wait(NULL), ECHILD);
    printf("child %d grandchild %d maxrss %ld\n", child, grandchild, usage.ru_maxrss);

    for (int i = 0; i < 20; i++) {
        child = fork();
        CHECK(child >= 0);
        if (child == 0)
            _exit(i);
        reap(child, i);
    }
    return success();
}
