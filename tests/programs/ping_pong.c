/* Two processes answer each other through pipes, 1000 times: every read blocks. */
#include "check.h"

int main(void)
{
    int there[2], back[2];
    CHECK(pipe(there) == 0 && pipe(back) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        int number;
        close(there[1]);
        while (read(there[0], &number, sizeof number) == sizeof number) {
            number = number * 3 + 1;
            CHECK(write(back[1], &number, sizeof number) == sizeof number);
        }
        _exit(0);
    }
    close(there[0]);
    for (int i = 0; i < 1000; i++) {
        int number = i;
        CHECK(write(there[1], &number, sizeof number) == sizeof number);
        CHECK(read(back[0], &number, sizeof number) == sizeof number);
        CHECK(number == i * 3 + 1);
    }
    close(there[1]);
    reap(child, 0);
    return success();
}
