/*
 * Says what signals come from outside, until SIGHUP: each waits until sigsuspend takes it, so none
 * is missed.  Argument: a file to write the process id to.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t ended;

static void on_signal(int number)
{
    char line[32] = "got ";
    strcat(line, number == SIGTERM ? "TERM\n" : number == SIGINT ? "INT\n" : "HUP\n");
    if (write(1, line, strlen(line)) < 0)
        abort();
    if (number == SIGHUP)
        ended = 1;
}

int main(int argc, char **argv)
{
    sigset_t set, old;
    const int signals[] = {SIGTERM, SIGINT, SIGHUP};
    sigemptyset(&set);
    for (int i = 0; i < 3; i++) {
        sigaddset(&set, signals[i]);
        signal(signals[i], on_signal);
    }
    sigprocmask(SIG_BLOCK, &set, &old);
    FILE *file = argc > 1 ? fopen(argv[1], "w") : NULL;
    if (!file || fprintf(file, "%d\n", getpid()) < 0 || fclose(file))
        return 1;
    if (write(1, "ready\n", 6) != 6)
        return 1;
    while (!ended)
        sigsuspend(&old);
    return 9;
}
