/* clone3 and clone by hand: parent and child tid words, a pidfd, __WALL, CLONE_VM. */
#include "check.h"
#include <linux/sched.h>
#include <linux/wait.h>
#include <sched.h>

static long clone3(struct clone_args *args)
{
    return syscall(SYS_clone3, args, sizeof *args);
}

static int touched;

static int touch(void *value)
{
    touched = *(int *)value;
    return 4;
}

int main(void)
{
    pid_t parent_tid = 0, child_tid = 0;
    int pidfd = -1;
    struct clone_args args = {
        .flags = CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_PIDFD,
        .pidfd = (uintptr_t)&pidfd,
        .parent_tid = (uintptr_t)&parent_tid,
        .child_tid = (uintptr_t)&child_tid,
        .exit_signal = SIGCHLD,
    };
    long child = clone3(&args);
    CHECK(child >= 0);
    if (child == 0)
        _exit(child_tid == (pid_t)syscall(SYS_gettid) ? 9 : 1);
    CHECK(parent_tid == child && child_tid == 0 && pidfd >= 0);
    struct pollfd ready = {.fd = pidfd, .events = POLLIN};
    CHECK(poll(&ready, 1, -1) == 1 && (ready.revents & POLLIN));
    siginfo_t info = {0};
    CHECK(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED) == 0);
    CHECK(info.si_pid == child && info.si_status == 9);
    close(pidfd);

    /* No exit signal: only __WALL or __WCLONE sees such a child. */
    args = (struct clone_args){0};
    child = clone3(&args);
    CHECK(child >= 0);
    if (child == 0)
        _exit(2);
    int status;
    CHECK_FAILS(waitpid((pid_t)child, &status, 0), ECHILD);
    CHECK(waitpid((pid_t)child, &status, __WALL) == child && WEXITSTATUS(status) == 2);

    /* A child in the same memory, on a stack of its own, which vforks. */
    size_t size = 65536;
    char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(stack != MAP_FAILED);
    int value = 31;
    pid_t sharer = clone(touch, stack + size, CLONE_VM | CLONE_VFORK | SIGCHLD, &value);
    CHECK(sharer > 0 && touched == 31);
    reap(sharer, 4);

    CHECK_FAILS(clone3(&(struct clone_args){.flags = CLONE_THREAD}), EINVAL);
    printf("child %ld sharer %d\n", child, sharer);
    return success();
}
