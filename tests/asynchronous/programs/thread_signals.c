/* Threads at work send each other signals with tgkill. @link pthread */
#include "landing.h"
#include <pthread.h>
#include <sys/syscall.h>

static volatile uint64_t work[3];
static volatile int tids[3], ready;
static __thread volatile uint64_t handled;

static void on_note(int signo, siginfo_t *info, void *context)
{
    on_landing(signo, info, context);
    handled++;
    mix(handled);
}

static void *worker(void *arg)
{
    uint64_t me = (uint64_t)arg;

    tids[me] = (int)syscall(SYS_gettid);
    __atomic_add_fetch(&ready, 1, __ATOMIC_SEQ_CST);
    while (ready < 3)
        usleep(100);
    while (!enough()) {
        for (int i = 0; i < 20000; i++)
            work[me]++;
        syscall(SYS_tgkill, getpid(), tids[work[me] / 20000 % 3], SIGUSR1);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[3];

    wanted(argc, argv);
    handle(SIGUSR1, on_note, SA_RESTART);
    handle(SIGALRM, on_note, SA_RESTART);
    every_us(ITIMER_REAL, 3000);
    for (uint64_t i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, worker, (void *)i);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    every_us(ITIMER_REAL, 0);
    for (int i = 0; i < 3; i++)
        mix(work[i]);
    say_landings();
    return 0;
}
