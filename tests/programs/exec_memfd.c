/* exec of an open file (execveat with AT_EMPTY_PATH): a copy of this program in a memfd. */
#include "check.h"

int main(int argc, char **argv, char **envp)
{
    if (argc == 2) {
        char path[64] = {0};
        CHECK(readlink("/proc/self/exe", path, sizeof path - 1) > 0);
        CHECK(strncmp(path, "/memfd:copy", 11) == 0);
        return success();
    }
    int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int to = memfd_create("copy", MFD_CLOEXEC);
    CHECK(from >= 0 && to >= 0);
    char block[65536];
    ssize_t count;
    while ((count = read(from, block, sizeof block)) > 0)
        CHECK(write(to, block, (size_t)count) == count);
    CHECK(count == 0);
    char *args[] = {argv[0], "again", NULL};
    syscall(SYS_execveat, to, "", args, envp, AT_EMPTY_PATH);
    CHECK(!"exec returned");
}
