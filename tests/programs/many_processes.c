/* 200 processes alive at once, each blocked on its turn, then reaped in any order. */
#include "check.h"

#define COUNT 200

int main(void)
{
    int ring[2], back[2];
    CHECK(pipe(ring) == 0 && pipe(back) == 0);
    pid_t children[COUNT];
    for (int i = 0; i < COUNT; i++) {
        children[i] = fork();
        CHECK(children[i] >= 0);
        if (children[i] == 0) {
            tell(back[1]);
            await(ring[0]); /* each takes one of the bytes */
            pid_t self = getpid();
            CHECK(write(back[1], &self, sizeof self) == sizeof self);
            _exit(i % 128);
        }
    }
    for (int i = 0; i < COUNT; i++)
        await(back[0]);
    for (int i = 0; i < COUNT; i++)
        tell(ring[1]);
    long sum = 0;
    for (int i = 0; i < COUNT; i++) {
        pid_t pid;
        CHECK(read(back[0], &pid, sizeof pid) == sizeof pid);
        sum += pid;
        printf("%d%c", pid, i % 10 == 9 ? '\n' : ' ');
    }
    long total = 0;
    for (int i = 0; i < COUNT; i++) {
        total += children[i];
        reap(children[i], i % 128);
    }
    CHECK(sum == total);
    return success();
}
