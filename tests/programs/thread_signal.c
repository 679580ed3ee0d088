/*
 * Signals to threads: pthread_kill into a read, masks of their own, sigwait in one of them.
 * @link pthread
 */
#include "check.h"
#include <pthread.h>

static int silent[2], started[2];
static __thread volatile sig_atomic_t mine;
static pid_t tid;

static void on_signal(int signal_number)
{
    mine = signal_number;
}

static void *reader(void *unused)
{
    char byte;
    tid = (pid_t)syscall(SYS_gettid);
    tell(started[1]);
    CHECK_FAILS(read(silent[0], &byte, 1), EINTR);
    CHECK(mine == SIGUSR1);
    return unused;
}

static void *waiter(void *unused)
{
    sigset_t set;
    int signal_number;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    CHECK(sigwait(&set, &signal_number) == 0 && signal_number == SIGUSR2);
    return unused;
}

int main(void)
{
    CHECK(pipe(silent) == 0 && pipe(started) == 0);
    struct sigaction action = {.sa_handler = on_signal};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    pthread_t thread;
    for (int i = 0; i < 5; i++) {
        CHECK(pthread_create(&thread, NULL, reader, NULL) == 0);
        await(started[0]);
        await_state(getpid(), tid, 'S');
        CHECK(pthread_kill(thread, SIGUSR1) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK(mine == 0);
    }
    /* Blocked here and in the thread: whoever waits for it takes it. */
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    CHECK(pthread_create(&thread, NULL, waiter, NULL) == 0);
    CHECK(kill(getpid(), SIGUSR2) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(sigpending(&set) == 0 && !sigismember(&set, SIGUSR2));
    CHECK(pthread_kill(pthread_self(), SIGUSR1) == 0 && mine == SIGUSR1);
    return success();
}
