/* A program that execs itself 20 times and keeps its pid, its file and its umask. */
#include "check.h"

int main(int argc, char **argv)
{
    int turn = argc > 1 ? atoi(argv[1]) : 0;
    pid_t first = argc > 2 ? atoi(argv[2]) : getpid();
    if (turn == 0) {
        umask(027);
        int fd = memfd_create("counter", 0);
        CHECK(fd >= 0 && dup2(fd, 100) == 100);
        CHECK(setenv("TURN", "none", 1) == 0);
        CHECK(alarm(1000) == 0);
    }
    CHECK(getpid() == first);
    char *heap = malloc(1 << 20);
    memset(heap, turn, 1 << 20);
    char byte = (char)('a' + turn);
    CHECK(write(100, &byte, 1) == 1);
    printf("turn %d of %d, TURN=%s\n", turn, first, getenv("TURN"));
    fflush(stdout);
    if (turn < 20) {
        char next[16], pid[16];
        snprintf(next, sizeof next, "%d", turn + 1);
        snprintf(pid, sizeof pid, "%d", first);
        CHECK(setenv("TURN", next, 1) == 0);
        execl("/proc/self/exe", argv[0], next, pid, NULL);
        CHECK(!"exec returned");
    }
    char text[32] = {0};
    CHECK(pread(100, text, sizeof text, 0) == 21);
    CHECK(strcmp(text, "abcdefghijklmnopqrstu") == 0);
    CHECK(umask(0) == 027);
    CHECK(alarm(0) > 0);
    return success();
}
