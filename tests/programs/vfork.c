/* vfork: the child runs in the parent's memory until it execs or exits. */
#include "check.h"

static volatile int shared;

int main(int argc, char **argv)
{
    if (argc == 2)
        _exit(atoi(argv[1]));
    pid_t child = vfork();
    CHECK(child >= 0);
    if (child == 0) {
        shared = 5;
        _exit(3);
    }
    CHECK(shared == 5);
    reap(child, 3);

    for (volatile int i = 0; i < 3; i++) {
        char number[16];
        snprintf(number, sizeof number, "%d", 10 + i);
        child = vfork();
        CHECK(child >= 0);
        if (child == 0) {
            shared = 6 + i;
            execl("/proc/self/exe", argv[0], number, NULL);
            _exit(99);
        }
        CHECK(shared == 6 + i);
        reap(child, 10 + i);
    }
    child = vfork();
    CHECK(child >= 0);
    if (child == 0) {
        execl("/nonexistent", "none", NULL);
        _exit(errno == ENOENT ? 17 : 18);
    }
    reap(child, 17);
    printf("last child %d\n", child);
    return success();
}
