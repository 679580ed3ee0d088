/* Queued real-time signals with values, sent by a child to a busy parent. */
#include "landing.h"
#include <sys/wait.h>
#include <time.h>

static volatile uint64_t work;

static void on_value(int signo, siginfo_t *info, void *context)
{
    on_landing(signo, info, context);
    mix((uint64_t)info->si_value.sival_int);
    mix((uint64_t)info->si_code);
    mix(work);
}

int main(int argc, char **argv)
{
    pid_t parent = getpid(), child;

    wanted(argc, argv);
    handle(SIGRTMIN + 1, on_value, 0);
    handle(SIGRTMIN + 2, on_value, SA_NODEFER);
    child = fork();
    if (!child) {
        for (unsigned i = 0; i < landings_wanted; i++) {
            union sigval value = {.sival_int = (int)(i * 3)};
            struct timespec t = {0, 1000000};

            sigqueue(parent, SIGRTMIN + 1 + (int)(i & 1), value);
            if (i % 5 == 4)
                nanosleep(&t, NULL);
        }
        _exit(0);
    }
    while (!enough())
        work++;
    waitpid(child, NULL, 0);
    say_landings();
    return 0;
}
