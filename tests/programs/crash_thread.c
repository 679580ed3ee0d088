/*
 * A crash in a thread while the others are blocked: all die with it.
 * @link pthread
 * @status SIGSEGV
 */
#include "check.h"
#include <pthread.h>
#include <sys/prctl.h>

static int silent[2], started[2];

static void *blocked(void *unused)
{
    char byte;
    tell(started[1]);
    CHECK(read(silent[0], &byte, 1) == 1);
    return unused;
}

static void *crash(void *unused)
{
    success();
    *(volatile int *)24 = 1;
    return unused;
}

int main(void)
{
    CHECK(prctl(PR_SET_DUMPABLE, 0) == 0);
    CHECK(pipe(silent) == 0 && pipe(started) == 0);
    pthread_t thread;
    for (int i = 0; i < 3; i++) {
        CHECK(pthread_create(&thread, NULL, blocked, NULL) == 0);
        await(started[0]);
    }
    CHECK(pthread_create(&thread, NULL, crash, NULL) == 0);
    pthread_join(thread, NULL);
    return 0;
}
