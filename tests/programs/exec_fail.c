/* exec that fails leaves the program as it was: each error, with threads or without. */
#include "check.h"

static void make(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    CHECK(fchmod(fd, mode) == 0);
    close(fd);
}

int main(void)
{
    char *args[] = {"program", NULL};
    char *none[] = {NULL};
    CHECK_FAILS(execve("/nonexistent", args, none), ENOENT);
    CHECK_FAILS(execve("/dev/null", args, none), EACCES);
    CHECK_FAILS(execve("/", args, none), EACCES);
    make("plain", "not a program\n", 0600);
    CHECK_FAILS(execve("plain", args, none), EACCES);
    make("garbage", "\x01\x02\x03 nothing", 0700);
    CHECK_FAILS(execve("garbage", args, none), ENOEXEC);
    make("broken", "#!/nonexistent/interpreter\n", 0700);
    CHECK_FAILS(execve("broken", args, none), ENOENT);
    make("truncated", "\x7f" "ELF\x02\x01\x01", 0700);
    CHECK_FAILS(execve("truncated", args, none), ENOEXEC);
    CHECK_FAILS(syscall(SYS_execve, 8L, args, none), EFAULT);
    CHECK_FAILS(execve("plain/below", args, none), ENOTDIR);

    static char long_name[PATH_MAX + 100];
    memset(long_name, 'x', sizeof long_name - 1);
    CHECK_FAILS(execve(long_name, args, none), ENAMETOOLONG);
    size_t size = 256 * 1024; /* one string may be 128 KiB */
    char *huge = malloc(size);
    memset(huge, 'y', size - 1);
    huge[size - 1] = 0;
    char *too_big[] = {huge, NULL};
    CHECK_FAILS(execve("/proc/self/exe", too_big, none), E2BIG);
    return success();
}
