/*
 * SIGKILL of children that are blocked in read, stopped, in vfork's wait, or many-threaded.
 * @link pthread
 */
#include "check.h"
#include <pthread.h>

static int ready[2], silent[2];

static void *block(void *unused)
{
    char byte;
    tell(ready[1]);
    CHECK(read(silent[0], &byte, 1) == 1);
    return unused;
}

static void child_main(int kind)
{
    pthread_t thread;
    switch (kind) {
    case 0:
        block(NULL);
        break;
    case 1:
        tell(ready[1]);
        raise(SIGSTOP);
        break;
    case 2:
        for (int i = 0; i < 3; i++)
            CHECK(pthread_create(&thread, NULL, block, NULL) == 0);
        block(NULL);
        break;
    default: {
        pid_t child = vfork();
        CHECK(child >= 0);
        if (child == 0) {
            tell(ready[1]);
            char byte;
            if (read(silent[0], &byte, 1) != 1)
                _exit(0);
            _exit(1);
        }
    }
    }
    _exit(0);
}

int main(void)
{
    CHECK(pipe(ready) == 0 && pipe(silent) == 0);
    for (int kind = 0; kind < 4; kind++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            close(silent[1]);
            child_main(kind);
        }
        for (int i = kind == 2 ? 4 : 1; i > 0; i--)
            await(ready[0]);
        if (kind == 1) {
            int status;
            CHECK(waitpid(child, &status, WUNTRACED) == child);
            CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
        }
        CHECK(kill(child, SIGKILL) == 0);
        reap_killed(child, SIGKILL);
        printf("killed %d\n", child);
    }
    close(silent[1]); /* lets the vfork child of the last one leave */
    return success();
}
