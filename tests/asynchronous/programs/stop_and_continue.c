/* A CPU-bound child, stopped and continued, and asked with a signal how far it is. */
#include "landing.h"
#include <sys/wait.h>
#include <time.h>

static volatile uint64_t work;

static void on_ask(int signo, siginfo_t *info, void *context)
{
    on_landing(signo, info, context);
    mix(work);
}

static void nap(long us)
{
    struct timespec t = {0, us * 1000};

    nanosleep(&t, NULL);
}

int main(int argc, char **argv)
{
    int status, asked = 0;
    pid_t child;

    wanted(argc, argv);
    handle(SIGUSR1, on_ask, 0);
    child = fork();
    if (!child) {
        while (!enough())
            work++;
        mix(work);
        say_landings();
        _exit(7);
    }
    for (;;) {
        nap(1500);
        if (asked % 3 == 0) {
            kill(child, SIGSTOP);
            if (waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status))
                break;
            nap(500);
            kill(child, SIGCONT);
            if (waitpid(child, &status, WCONTINUED) != child || !WIFCONTINUED(status))
                break;
        }
        kill(child, SIGUSR1);
        asked++;
        if (waitpid(child, &status, WNOHANG) == child)
            break;
    }
    printf("child: %s %d\n", WIFEXITED(status) ? "exit" : "other", WEXITSTATUS(status));
    return 0;
}
