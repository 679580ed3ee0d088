/*
 * The first process ends before its children; they go on, and write after it.
 * @status 4
 */
#include "check.h"

int main(void)
{
    int alive[2];
    CHECK(pipe(alive) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        char byte;
        close(alive[1]);
        CHECK(read(alive[0], &byte, 1) == 0); /* the parent is gone */
        success();
        _exit(9);
    }
    CHECK(write(1, "the parent leaves\n", 18) == 18);
    _exit(4);
}
