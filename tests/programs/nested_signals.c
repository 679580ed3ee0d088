/* Handlers interrupted by handlers, masks inside them, SA_NODEFER, SA_RESETHAND, system calls. */
#include "check.h"

static volatile int depth, deepest, trail[32], steps;

static void step(int what)
{
    trail[steps++] = what;
}

static void outer(int signal_number)
{
    step(1);
    CHECK(signal_number == SIGUSR1);
    CHECK(raise(SIGUSR1) == 0); /* blocked while its handler runs */
    CHECK(raise(SIGUSR2) == 0); /* not blocked: nests */
    step(2);
}

static void inner(int signal_number)
{
    CHECK(signal_number == SIGUSR2);
    step(3);
    CHECK(getppid() > 0);
    CHECK(raise(SIGALRM) == 0);
    step(4);
}

static void last(int signal_number)
{
    CHECK(signal_number == SIGALRM);
    step(5);
}

static void again(int signal_number)
{
    depth++;
    deepest = depth > deepest ? depth : deepest;
    if (depth < 10)
        CHECK(raise(signal_number) == 0);
    depth--;
}

int main(void)
{
    CHECK(signal(SIGUSR2, inner) != SIG_ERR && signal(SIGALRM, last) != SIG_ERR);
    struct sigaction action = {.sa_handler = outer};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    /* The second SIGUSR1 comes when the first handler has returned; only once more is raised. */
    sigset_t set;
    CHECK(raise(SIGUSR2) == 0);
    static const int expected[] = {3, 5, 4};
    CHECK(steps == 3);
    for (int i = 0; i < 3; i++)
        CHECK(trail[i] == expected[i]);
    steps = 0;
    action.sa_flags = SA_RESETHAND; /* so that the pending one is not handled for ever */
    sigaddset(&action.sa_mask, SIGALRM);
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        raise(SIGUSR1); /* handled once, and the one raised inside kills */
        _exit(1);
    }
    reap_killed(child, SIGUSR1);
    action = (struct sigaction){.sa_handler = again, .sa_flags = SA_NODEFER};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(raise(SIGUSR1) == 0 && deepest == 10 && depth == 0);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    CHECK(raise(SIGUSR2) == 0 && steps == 0);
    sigset_t pending;
    CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGUSR2));
    CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
    CHECK(steps == 3);
    return success();
}
