/*
 * Shared anonymous memory across fork: futexes in it, turns taken by pipes, a grandchild.
 * @link pthread
 */
#include "check.h"
#include <pthread.h>
#include <semaphore.h>

struct shared {
    sem_t mine, yours;
    pthread_barrier_t barrier;
    int value, log[300];
};

int main(void)
{
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    CHECK(sem_init(&shared->mine, 1, 1) == 0 && sem_init(&shared->yours, 1, 0) == 0);
    pthread_barrierattr_t attributes;
    CHECK(pthread_barrierattr_init(&attributes) == 0);
    CHECK(pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED) == 0);
    CHECK(pthread_barrier_init(&shared->barrier, &attributes, 3) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        for (int i = 0; i < 150; i++) {
            CHECK(sem_wait(&shared->yours) == 0);
            shared->log[shared->value++] = 2 * i + 1;
            CHECK(sem_post(&shared->mine) == 0);
        }
        pid_t grandchild = fork();
        CHECK(grandchild >= 0);
        pthread_barrier_wait(&shared->barrier);
        if (grandchild == 0)
            _exit(3);
        reap(grandchild, 3);
        _exit(0);
    }
    for (int i = 0; i < 150; i++) {
        CHECK(sem_wait(&shared->mine) == 0);
        shared->log[shared->value++] = 2 * i;
        CHECK(sem_post(&shared->yours) == 0);
    }
    pthread_barrier_wait(&shared->barrier);
    reap(child, 0);
    for (int i = 0; i < 300; i++)
        CHECK(shared->log[i] == i);

    /* The same pages twice (old size 0), and moved. */
    char *first = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(first != MAP_FAILED);
    strcpy(first, "same");
    char *second = mremap(first, 0, 8192, MREMAP_MAYMOVE);
    CHECK(second != MAP_FAILED && second != first && strcmp(second, "same") == 0);
    second[4096] = 'x';
    CHECK(first[4096] == 'x');
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        first[0] = 'S';
        _exit(0);
    }
    reap(child, 0);
    CHECK(second[0] == 'S');
    CHECK(munmap(first, 8192) == 0 && strcmp(second, "Same") == 0);
    return success();
}
