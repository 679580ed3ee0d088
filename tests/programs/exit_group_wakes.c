/* @link pthread
 * The first thread is let go on, and before it can return from its call the process ends: its call
 * is over, and it dies in it. */
#include "check.h"
#include <linux/futex.h>
#include <pthread.h>

static int first_word, second_word;

static long futex(int *word, int op, int value)
{
    return syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

static void wait_for(int *word)
{
    while (__atomic_load_n(word, __ATOMIC_SEQ_CST) == 0)
        futex(word, FUTEX_WAIT_PRIVATE, 0);
}

static void wake(int *word)
{
    __atomic_store_n(word, 1, __ATOMIC_SEQ_CST);
    futex(word, FUTEX_WAKE_PRIVATE, 1);
}

static void *waker(void *unused)
{
    for (int i = 0; i < 20; i++)
        sched_yield(); /* the others have fallen asleep then, or have not: both are right */
    wake(&first_word);
    wake(&second_word);
    for (;;)
        sched_yield();
    return unused;
}

static void *ender(void *unused)
{
    wait_for(&second_word);
    _exit(3);
    return unused;
}

static void child(void)
{
    pthread_t threads[2];

    CHECK(pthread_create(&threads[0], NULL, waker, NULL) == 0);
    CHECK(pthread_create(&threads[1], NULL, ender, NULL) == 0);
    wait_for(&first_word);
    for (;;)
        sched_yield();
}

int main(void)
{
    for (int i = 0; i < 20; i++) {
        pid_t pid = fork();
        int status;

        if (pid == 0)
            child();
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3);
        printf("%d\n", pid);
    }
    return success();
}
