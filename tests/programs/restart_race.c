/* Threads whose sleeping calls are restarted (SA_RESTART) while signals to the process keep coming: one that
 * was woken for a signal that another thread took goes back to its call, and the next signal finds it
 * there, before the call is made again. */
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "check.h"

#define SLEEPERS 4
#define WANTED 2000

static volatile int rang, word, enough;

static void on_alarm(int signo)
{
    (void)signo;
    if (++rang < WANTED)
        return;
    enough = 1;
    syscall(SYS_futex, &enough, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void *sleeper(void *arg)
{
    while (!word)
        syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0);
    return arg;
}

int main(void)
{
    const struct itimerval every = {{0, 150}, {0, 150}}, never = {{0, 0}, {0, 0}};
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    pthread_t threads[SLEEPERS];

    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    for (int i = 0; i < SLEEPERS; i++)
        CHECK(pthread_create(&threads[i], NULL, sleeper, NULL) == 0);
    CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
    while (!enough)
        syscall(SYS_futex, &enough, FUTEX_WAIT, 0, NULL, NULL, 0);
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    word = 1;
    syscall(SYS_futex, &word, FUTEX_WAKE, SLEEPERS, NULL, NULL, 0);
    for (int i = 0; i < SLEEPERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    return success();
}
