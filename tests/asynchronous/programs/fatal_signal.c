/* Killed by a signal from outside in the middle of a loop. @status SIGUSR2 */
#include "landing.h"
#include <time.h>

static volatile uint64_t work;

int main(void)
{
    pid_t parent = getpid();

    if (!fork()) {
        struct timespec t = {0, 20000000};

        nanosleep(&t, NULL);
        kill(parent, SIGUSR2);
        _exit(0);
    }
    for (;;)
        work++;
}
