/* Processes that share what processes usually do not: memory (CLONE_VM), descriptors, directory. */
#include "check.h"
#include <sched.h>

static volatile int stage;
static int fd_from_child = -1, ends[2];

static int share_memory(void *unused)
{
    (void)unused;
    stage = 1;
    await(ends[0]);
    fd_from_child = open("made", O_RDWR | O_CREAT, 0600);
    CHECK(fd_from_child >= 0 && write(fd_from_child, "child", 5) == 5);
    CHECK(chdir("/") == 0);
    stage = 2;
    return 8;
}

int main(void)
{
    size_t size = 65536;
    char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(stack != MAP_FAILED && pipe(ends) == 0);
    pid_t child = clone(share_memory, stack + size, CLONE_VM | CLONE_FILES | CLONE_FS | SIGCHLD,
                        NULL);
    CHECK(child > 0);
    tell(ends[1]);
    reap(child, 8);
    CHECK(stage == 2);
    char text[5], directory[64];
    CHECK(pread(fd_from_child, text, 5, 0) == 5 && memcmp(text, "child", 5) == 0);
    CHECK(getcwd(directory, sizeof directory) && strcmp(directory, "/") == 0);

    /* The descriptor table alone, and then one of its own again. */
    child = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, 0);
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(close(fd_from_child) == 0);
        CHECK(unshare(CLONE_FILES) == 0);
        CHECK(close(ends[0]) == 0);
        _exit(0);
    }
    reap(child, 0);
    CHECK_FAILS(fcntl(fd_from_child, F_GETFD), EBADF);
    CHECK(fcntl(ends[0], F_GETFD) == 0);
    return success();
}
