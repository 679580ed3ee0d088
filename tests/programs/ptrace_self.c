/* A program that tries to be traced, and to trace: it survives a refusal, as under any debugger. */
#include "check.h"
#include <sys/ptrace.h>

int main(void)
{
    int go[2];
    CHECK(pipe(go) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        long traced = ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        CHECK(traced == 0 || errno == EPERM || errno == ENOSYS);
        _exit(2);
    }
    reap(child, 2);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        await(go[0]);
        _exit(3);
    }
    long result = ptrace(PTRACE_SEIZE, child, NULL, NULL);
    CHECK(result == 0 || errno == EPERM || errno == ENOSYS);
    tell(go[1]);
    reap(child, 3);
    return success();
}
