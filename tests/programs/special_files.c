/* Files made by the kernel: /proc of itself and of a child, /dev/zero, /dev/null, /dev/full. */
#include "check.h"

static ssize_t slurp(const char *path, char *ret_text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    size_t total = 0;
    ssize_t count;
    while (total + 1 < size && (count = read(fd, ret_text + total, size - 1 - total)) > 0)
        total += (size_t)count;
    ret_text[total] = 0;
    close(fd);
    return (ssize_t)total;
}

int main(void)
{
    static char text[1 << 20];
    static const char *const paths[] = {
        "/proc/self/stat",   "/proc/self/status", "/proc/self/cmdline", "/proc/self/limits",
        "/proc/meminfo",     "/proc/uptime",      "/proc/loadavg",      "/proc/self/maps",
        "/proc/self/mounts", "/proc/stat",        "/proc/cpuinfo",      "/proc/self/auxv",
        "/proc/sys/kernel/random/uuid"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        ssize_t size = slurp(paths[i], text, sizeof text);
        CHECK(size > 0);
        unsigned digest = 0;
        for (ssize_t at = 0; at < size; at++)
            digest = digest * 31 + (unsigned char)text[at];
        printf("%s %zd %08x\n", paths[i], size, digest);
    }
    CHECK(slurp("/proc/self/comm", text, sizeof text) > 0);
    CHECK(readlink("/proc/self/exe", text, sizeof text) > 0);
    CHECK(readlink("/proc/self", text, sizeof text) > 0 && atoi(text) == getpid());

    int zero = open("/dev/zero", O_RDWR), null = open("/dev/null", O_RDWR);
    int full = open("/dev/full", O_RDWR);
    CHECK(zero >= 0 && null >= 0 && full >= 0);
    memset(text, 'x', 100);
    CHECK(read(zero, text, 99) == 99 && text[98] == 0 && text[99] == 'x');
    CHECK(read(null, text, 99) == 0 && write(null, text, 99) == 99);
    CHECK_FAILS(write(full, "x", 1), ENOSPC);

    /* Memory through /proc/self/mem, both ways. */
    static char word[32] = "before";
    int memory = open("/proc/self/mem", O_RDWR);
    if (memory >= 0) {
        CHECK(pread(memory, text, 6, (off_t)(uintptr_t)word) == 6);
        CHECK(memcmp(text, "before", 6) == 0);
    }
    int go[2];
    CHECK(pipe(go) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        await(go[0]);
        _exit(0);
    }
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", child);
    CHECK(slurp(path, text, sizeof text) > 0 && atoi(text) == child);
    tell(go[1]);
    reap(child, 0);
    CHECK_FAILS(open(path, O_RDONLY), ENOENT);
    return success();
}
