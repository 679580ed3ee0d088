/* Private mappings of files: offsets, tails, copy on write, holes cut out, fixed addresses. */
#include "check.h"

int main(void)
{
    long page = sysconf(_SC_PAGESIZE);
    int fd = open("data", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    char block[4096];
    for (int i = 0; i < 8; i++) {
        memset(block, 'a' + i, sizeof block);
        CHECK(write(fd, block, sizeof block) == sizeof block);
    }
    CHECK(write(fd, "tail", 4) == 4);
    size_t size = 9 * 4096;
    char *all = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    char *part = mmap(NULL, 4096 * 2, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 3 * 4096);
    CHECK(all != MAP_FAILED && part != MAP_FAILED);
    CHECK(all[0] == 'a' && all[7 * 4096] == 'h' && part[0] == 'd' && part[4096] == 'e');
    CHECK(memcmp(all + 8 * 4096, "tail\0\0\0", 7) == 0); /* the rest of the last page is zero */
    memset(all + 4096, 'X', 4096);
    CHECK(pread(fd, block, 1, 4096) == 1 && block[0] == 'b'); /* the file is untouched */
    CHECK(pwrite(fd, "changed", 7, 2 * 4096) == 7);
    CHECK(all[4096] == 'X');
    memset(all + 2 * 4096, 'Y', 7); /* own copy from now on */
    CHECK(pwrite(fd, "again..", 7, 2 * 4096) == 7);
    CHECK(memcmp(all + 2 * 4096, "YYYYYYYc", 8) == 0);

    CHECK(munmap(all + 4 * 4096, 4096) == 0); /* in the middle: two mappings now */
    char *hole = mmap(all + 4 * 4096, 4096, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    CHECK(hole == all + 4 * 4096 && hole[5] == 0);
    CHECK_FAILS(mmap(all, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
                EEXIST);
    CHECK(mmap(all, 2 * 4096, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 6 * 4096) == all);
    CHECK(all[0] == 'g' && all[4096] == 'h' && all[2 * 4096] == 'Y');
    close(fd); /* mappings outlive the fd, and the name */
    CHECK(unlink("data") == 0);
    CHECK(all[3 * 4096] == 'd' && all[7 * 4096] == 'h');
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        all[3 * 4096] = 'Z';
        CHECK(all[2 * 4096] == 'Y');
        _exit(0);
    }
    reap(child, 0);
    CHECK(all[3 * 4096] == 'd');
    CHECK_FAILS(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), EINVAL);
    CHECK_FAILS(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 500, 0), EBADF);

    int zero = open("/dev/zero", O_RDWR);
    CHECK(zero >= 0);
    char *zeros = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero, 0);
    CHECK(zeros != MAP_FAILED && zeros[0] == 0);
    zeros[1] = 1;
    char *reserved = mmap(NULL, 1ul << 36, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(reserved != MAP_FAILED);
    CHECK(mprotect(reserved + (1ul << 35), 8192, PROT_READ | PROT_WRITE) == 0);
    reserved[1ul << 35] = 7;
    CHECK(munmap(reserved, 1ul << 36) == 0);
    printf("%p %p %ld\n", (void *)all, (void *)part, page);
    return success();
}
