/*
 * SIGPIPE kills a writer whose reader is gone; children first, then this process.
 * @status SIGPIPE
 */
#include "check.h"

int main(void)
{
    int ends[2], pair[2];
    CHECK(pipe(ends) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    close(ends[0]);
    close(pair[0]);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        send(pair[1], "x", 1, 0);
        _exit(1);
    }
    reap_killed(child, SIGPIPE);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
        CHECK_FAILS(write(ends[1], "x", 1), EPIPE);
        _exit(0);
    }
    reap(child, 0);
    success();
    CHECK(write(ends[1], "x", 1) == 1);
    return 0;
}
