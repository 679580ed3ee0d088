/*
 * The main thread ends with pthread_exit; the others go on, and end the process.
 * @link pthread
 * @status 3
 */
#include "check.h"
#include <pthread.h>

static pthread_t leader;

static void *last(void *unused)
{
    CHECK(pthread_join(leader, NULL) == 0);
    await_state(getpid(), getpid(), 'Z');
    printf("leader %d gone\n", getpid());
    success();
    exit(3);
    return unused;
}

int main(void)
{
    leader = pthread_self();
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, last, NULL) == 0);
    pthread_exit(NULL);
}
