/*
 * Cancellation of threads: in read, in a condition wait, in nanosleep, at testcancel, asynchronous
 * at a system call; cleanup handlers run, and cancellation can be disabled.
 * @link pthread
 */
#include "check.h"
#include <pthread.h>

static int silent[2], started[2];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static int cleaned;
static pid_t tid;

static void clean(void *unlock)
{
    cleaned++;
    if (unlock)
        pthread_mutex_unlock(unlock);
}

static void *work(void *how)
{
    char byte;
    tid = (pid_t)syscall(SYS_gettid);
    void *unlock = (long)how == 1 ? &mutex : NULL;
    if (unlock)
        pthread_mutex_lock(&mutex);
    pthread_cleanup_push(clean, unlock);
    if ((long)how == 3)
        CHECK(pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL) == 0);
    if ((long)how == 4)
        CHECK(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL) == 0);
    tell(started[1]);
    switch ((long)how) {
    case 0:
        CHECK(read(silent[0], &byte, 1) == 1);
        break;
    case 1:
        for (;;)
            pthread_cond_wait(&condition, &mutex);
    case 2:
        nanosleep(&(struct timespec){.tv_sec = 10000}, NULL);
        break;
    case 3:
        syscall(SYS_ppoll, NULL, 0, NULL, NULL, 8);
        break;
    case 4:
        CHECK(read(silent[0], &byte, 1) == 1); /* ends by data, not by the request */
        CHECK(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL) == 0);
        pthread_testcancel();
    }
    CHECK(!"not cancelled");
    pthread_cleanup_pop(0);
    return NULL;
}

int main(void)
{
    CHECK(pipe(silent) == 0 && pipe(started) == 0);
    for (long how = 0; how < 5; how++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, work, (void *)how) == 0);
        await(started[0]);
        await_state(getpid(), tid, 'S');
        CHECK(pthread_cancel(thread) == 0);
        if (how == 4)
            tell(silent[1]);
        void *result;
        CHECK(pthread_join(thread, &result) == 0);
        CHECK(result == PTHREAD_CANCELED);
        CHECK(cleaned == how + 1);
        printf("cancelled %d\n", tid);
    }
    CHECK(pthread_mutex_trylock(&mutex) == 0);
    return success();
}
