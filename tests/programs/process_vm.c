/* process_vm_readv and process_vm_writev between parent and child, and partly bad ranges. */
#include "check.h"

static char text[4096] = "the child's own";

int main(void)
{
    int up[2], down[2];
    CHECK(pipe(up) == 0 && pipe(down) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        strcpy(text, "written by the child");
        tell(up[1]);
        await(down[0]);
        CHECK(strcmp(text, "poked into the child") == 0);
        /* and the other way round, if the system lets a child read its parent */
        char copy[32] = {0};
        struct iovec local = {copy, sizeof copy};
        struct iovec remote = {text, sizeof copy};
        ssize_t count = process_vm_readv(getppid(), &local, 1, &remote, 1, 0);
        CHECK(count == -1 || strcmp(copy, "the child's own") == 0);
        _exit(6);
    }
    await(up[0]);
    char first[8] = {0}, second[32] = {0};
    struct iovec local[] = {{first, 7}, {second, sizeof second}};
    struct iovec remote[] = {{text, 3}, {text + 3, 36}};
    ssize_t count = process_vm_readv(child, local, 2, remote, 2, 0);
    if (count == -1 && errno == EPERM)
        SKIP("process_vm_readv of a child is not permitted here");
    CHECK(count == 39);
    CHECK(strcmp(first, "written") == 0 && strcmp(second, " by the child") == 0);
    char poke[] = "poked into the child";
    local[0] = (struct iovec){poke, sizeof poke};
    remote[0] = (struct iovec){text, sizeof poke};
    CHECK(process_vm_writev(child, local, 1, remote, 1, 0) == sizeof poke);
    CHECK(strcmp(text, "the child's own") == 0);
    remote[0].iov_base = (void *)8;
    CHECK_FAILS(process_vm_readv(child, local, 1, remote, 1, 0), EFAULT);
    tell(down[1]);
    reap(child, 6);
    return success();
}
