/*
 * exit_group from a thread while others are blocked in read, futex, poll, nanosleep and wait.
 * @link pthread
 * @status 5
 */
#include "check.h"
#include <pthread.h>

static int silent[2], started[2];
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pid_t tids[5];

static void *blocked(void *how)
{
    long number = (long)how;
    char byte;
    tids[number] = (pid_t)syscall(SYS_gettid);
    tell(started[1]);
    switch (number) {
    case 0:
        CHECK(read(silent[0], &byte, 1) == 1);
        break;
    case 1:
        pthread_mutex_lock(&mutex);
        for (;;)
            pthread_cond_wait(&condition, &mutex);
        break;
    case 2:
        poll(&(struct pollfd){.fd = silent[0], .events = POLLIN}, 1, -1);
        break;
    case 3:
        nanosleep(&(struct timespec){.tv_sec = 10000}, NULL);
        break;
    default:
        waitpid(-1, NULL, 0);
    }
    CHECK(!"woken");
    return NULL;
}

static void *leave(void *unused)
{
    for (int i = 0; i < 5; i++)
        await_state(getpid(), tids[i], 'S');
    success();
    exit(5);
    return unused;
}

int main(void)
{
    CHECK(pipe(silent) == 0 && pipe(started) == 0);
    pid_t child = fork(); /* one to wait for, so that wait blocks */
    CHECK(child >= 0);
    if (child == 0) {
        char byte;
        close(silent[1]);
        _exit(read(silent[0], &byte, 1) == 0 ? 0 : 1);
    }
    pthread_t thread;
    for (long i = 0; i < 5; i++)
        CHECK(pthread_create(&thread, NULL, blocked, (void *)i) == 0);
    for (int i = 0; i < 5; i++)
        await(started[0]);
    CHECK(pthread_create(&thread, NULL, leave, NULL) == 0);
    for (;;)
        pause();
}
