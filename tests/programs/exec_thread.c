/*
 * exec from a thread that is not the leader: it takes the leader's tid, and the
 * other threads (in read, futex and pause) are gone.
 * @link pthread
 */
#include "check.h"
#include <pthread.h>

static int never[2];
static char *program;
static pthread_mutex_t locked = PTHREAD_MUTEX_INITIALIZER;

static void *reader(void *unused)
{
    char byte;
    CHECK(read(never[0], &byte, 1) == 1);
    return unused;
}

static void *waiter(void *unused)
{
    pthread_mutex_lock(&locked);
    return unused;
}

static void *execer(void *number)
{
    pid_t tid = (pid_t)syscall(SYS_gettid);
    CHECK(tid != getpid());
    char pid[16], turn[16];
    snprintf(pid, sizeof pid, "%d", getpid());
    snprintf(turn, sizeof turn, "%d", *(int *)number + 1);
    printf("exec by %d in %d\n", tid, getpid());
    fflush(stdout);
    execl("/proc/thread-self/exe", program, turn, pid, NULL);
    CHECK(!"exec returned");
    return NULL;
}

int main(int argc, char **argv)
{
    int turn = argc > 1 ? atoi(argv[1]) : 0;
    if (turn > 0) {
        CHECK(getpid() == atoi(argv[2]));
        CHECK((pid_t)syscall(SYS_gettid) == getpid());
    }
    if (turn == 5)
        return success();
    program = argv[0];
    pthread_t thread;
    CHECK(pipe2(never, O_CLOEXEC) == 0);
    pthread_mutex_lock(&locked);
    CHECK(pthread_create(&thread, NULL, reader, NULL) == 0);
    CHECK(pthread_create(&thread, NULL, waiter, NULL) == 0);
    CHECK(pthread_create(&thread, NULL, execer, &turn) == 0);
    if (turn % 2)
        pthread_exit(NULL); /* the leader is a zombie when the thread execs, or dies in it */
    for (;;)
        pause();
}
