/*
 * Stopped and continued in the middle of a call: nanosleep, poll and futex go on with the time
 * left (restart_syscall), read just goes on; no handler runs, no call fails.
 */
#include "check.h"
#include <linux/futex.h>

static int silent[2];

static long wait_in(int kind)
{
    static uint32_t word;
    char byte;
    struct timespec moment = {.tv_nsec = 30000000};
    switch (kind) {
    case 0:
        return nanosleep(&moment, NULL);
    case 1:
        return poll(&(struct pollfd){.fd = silent[0], .events = POLLIN}, 1, 30);
    case 2:
        return syscall(SYS_futex, &word, FUTEX_WAIT, 0, &moment, NULL, 0) == -1 &&
                       errno == ETIMEDOUT
                   ? 0
                   : -1;
    case 3:
        return read(silent[0], &byte, 1) == 1 ? 0 : -1;
    case 4:
        return clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL) == 0 ? 0 : -1;
    default:
        return select(0, NULL, NULL, NULL, &(struct timeval){.tv_usec = 30000});
    }
}

int main(void)
{
    CHECK(pipe(silent) == 0);
    for (int kind = 0; kind < 6; kind++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            for (int i = 0; i < 2; i++)
                CHECK(wait_in(kind) == 0);
            _exit(0);
        }
        int status;
        /* The child may be between its calls, or gone: any of these is fine for it. */
        for (int i = 0; i < 3; i++) {
            CHECK(kill(child, SIGSTOP) == 0);
            CHECK(waitpid(child, &status, WUNTRACED) == child);
            if (!WIFSTOPPED(status))
                break;
            CHECK(kill(child, SIGCONT) == 0);
        }
        if (kind == 3) {
            tell(silent[1]);
            tell(silent[1]);
        }
        if (WIFSTOPPED(status))
            reap(child, 0);
        else
            CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    return success();
}
