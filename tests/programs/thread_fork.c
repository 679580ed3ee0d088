/*
 * fork in a program with threads: only the caller goes on in the child; atfork handlers.
 * @link pthread
 */
#include "check.h"
#include <dirent.h>
#include <pthread.h>

static int silent[2], before, in_parent, in_child;

static void on_before(void) { before++; }
static void on_parent(void) { in_parent++; }
static void on_child(void) { in_child++; }

static int count_threads(void)
{
    DIR *directory = opendir("/proc/self/task");
    CHECK(directory);
    int count = -2; /* . and .. */
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

static void *blocked(void *unused)
{
    char byte;
    CHECK(read(silent[0], &byte, 1) == 1);
    return unused;
}

static void *forker(void *unused)
{
    for (int i = 0; i < 5; i++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            CHECK((pid_t)syscall(SYS_gettid) == getpid());
            CHECK(in_child == 1 && count_threads() == 1);
            pthread_t thread;
            CHECK(pthread_create(&thread, NULL, blocked, NULL) == 0);
            CHECK(count_threads() == 2);
            _exit(i);
        }
        reap(child, i);
        printf("%d\n", child);
    }
    return unused;
}

int main(void)
{
    CHECK(pipe(silent) == 0);
    CHECK(pthread_atfork(on_before, on_parent, on_child) == 0);
    pthread_t thread, reader;
    CHECK(pthread_create(&reader, NULL, blocked, NULL) == 0);
    CHECK(count_threads() == 2);
    CHECK(pthread_create(&thread, NULL, forker, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(before == 5 && in_parent == 5 && in_child == 0);
    CHECK(write(silent[1], "!", 1) == 1);
    CHECK(pthread_join(reader, NULL) == 0);
    return success();
}
