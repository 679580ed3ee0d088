/* memfd: sealed, mapped by two processes, written by calls while mapped, punched, passed on. */
#include "check.h"

int main(void)
{
    int fd = memfd_create("relive", MFD_CLOEXEC | MFD_ALLOW_SEALING), go[2];
    CHECK(fd >= 0 && ftruncate(fd, 5 * 4096) == 0 && pipe(go) == 0);
    volatile char *map = mmap(NULL, 5 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(map != MAP_FAILED);
    CHECK(pwrite(fd, "through the fd", 14, 4096) == 14);
    CHECK(memcmp((char *)map + 4096, "through the fd", 14) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/fd/%d", getppid(), fd);
        int again = open(path, O_RDWR);
        CHECK(again >= 0);
        char *own = mmap(NULL, 5 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0);
        CHECK(own != MAP_FAILED && own[4096] == 't');
        strcpy(own, "from the child");
        CHECK(pwrite(again, "far", 3, 4 * 4096) == 3);
        _exit(0);
    }
    reap(child, 0);
    CHECK(strcmp((char *)map, "from the child") == 0 && map[4 * 4096] == 'f');
    CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096) == 0);
    CHECK(map[4096] == 0 && map[4 * 4096] == 'f');
    CHECK(munmap((void *)map, 5 * 4096) == 0);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK) == 0);
    CHECK(fcntl(fd, F_GET_SEALS) == (F_SEAL_WRITE | F_SEAL_SHRINK));
    CHECK_FAILS(write(fd, "x", 1), EPERM);
    CHECK_FAILS(ftruncate(fd, 4096), EPERM);
    map = mmap(NULL, 5 * 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    CHECK(map != MAP_FAILED && map[4 * 4096] == 'f');
    return success();
}
