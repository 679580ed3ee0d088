/* Strict mode: only read, write, _exit and sigreturn are left; anything else is SIGKILL. */
#include "check.h"
#include <linux/seccomp.h>
#include <sys/prctl.h>

int main(void)
{
    int ends[2];
    char byte;
    CHECK(pipe(ends) == 0);
    for (int bad = 0; bad < 2; bad++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
            if (write(ends[1], "x", 1) != 1)
                syscall(SYS_exit, 1);
            if (bad)
                syscall(SYS_getpid);
            syscall(SYS_exit, 7);
        }
        CHECK(read(ends[0], &byte, 1) == 1 && byte == 'x');
        if (bad)
            reap_killed(child, SIGKILL);
        else
            reap(child, 7);
    }
    return success();
}
