/* Reads from a pipe, restarted or interrupted by the timer, and work in between. */
#include "landing.h"
#include <errno.h>
#include <sys/wait.h>
#include <time.h>

static volatile uint64_t work, interrupted;

int main(int argc, char **argv)
{
    int ends[2];
    pid_t child;

    if (pipe(ends))
        return 1;
    child = fork();
    if (!child) {
        struct timespec t = {0, 2500000};

        signal(SIGPIPE, SIG_DFL);
        close(ends[0]);
        while (write(ends[1], "x", 1) == 1)
            nanosleep(&t, NULL);
        _exit(0);
    }
    close(ends[1]);
    land(argc, argv, on_landing);
    while (!enough()) {
        char byte;

        handle(SIGALRM, on_landing, work / 100000 % 2 ? SA_RESTART : 0);
        if (read(ends[0], &byte, 1) < 0 && errno == EINTR)
            interrupted++;
        for (unsigned i = 0; i < 100000; i++)
            work++;
    }
    every_us(ITIMER_REAL, 0);
    close(ends[0]);
    waitpid(child, NULL, 0);
    mix(work);
    mix(interrupted);
    say_landings();
    return 0;
}
