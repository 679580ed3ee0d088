/*
 * Robust mutexes: the owner dies as a thread, as a process in shared memory (by exit, by SIGKILL
 * while another waits, by exec); the kernel walks the robust list and says so.
 * @link pthread
 */
#include "check.h"
#include <pthread.h>

struct shared {
    pthread_mutex_t mutex;
    int value;
};

static struct shared *shared;

static void *die_with_it(void *unused)
{
    CHECK(pthread_mutex_lock(&shared->mutex) == 0);
    shared->value++;
    return unused;
}

static void recover(void)
{
    CHECK(pthread_mutex_lock(&shared->mutex) == EOWNERDEAD);
    CHECK(pthread_mutex_consistent(&shared->mutex) == 0);
    CHECK(pthread_mutex_unlock(&shared->mutex) == 0);
}

int main(int argc, char **argv)
{
    if (argc == 2)
        return 12;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    pthread_mutexattr_t attributes;
    CHECK(pthread_mutexattr_init(&attributes) == 0);
    CHECK(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST) == 0);
    CHECK(pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED) == 0);
    CHECK(pthread_mutex_init(&shared->mutex, &attributes) == 0);

    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, die_with_it, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    recover();

    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        die_with_it(NULL);
        _exit(1);
    }
    reap(child, 1);
    recover();

    /* Killed while this process is already waiting for the lock, or about to. */
    int ready[2], never[2];
    CHECK(pipe(ready) == 0 && pipe(never) == 0);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        die_with_it(NULL);
        tell(ready[1]);
        await(never[0]);
    }
    await(ready[0]);
    pid_t waiter = fork();
    CHECK(waiter >= 0);
    if (waiter == 0) {
        tell(ready[1]);
        recover();
        _exit(2);
    }
    await(ready[0]);
    await_state(waiter, waiter, 'S');
    CHECK(kill(child, SIGKILL) == 0);
    reap_killed(child, SIGKILL);
    reap(waiter, 2);

    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        die_with_it(NULL);
        tell(ready[1]);
        execl("/proc/self/exe", argv[0], "leave", NULL);
        _exit(99);
    }
    await(ready[0]);
    recover();
    reap(child, 12);

    CHECK(shared->value == 4);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        die_with_it(NULL);
        _exit(0);
    }
    reap(child, 0);
    CHECK(pthread_mutex_lock(&shared->mutex) == EOWNERDEAD);
    CHECK(pthread_mutex_unlock(&shared->mutex) == 0); /* not made consistent */
    CHECK(pthread_mutex_lock(&shared->mutex) == ENOTRECOVERABLE);
    return success();
}
