/* madvise and its kin: dropped pages, holes in shared memory, fork advice, locks, mincore. */
#include "check.h"
#include <linux/mman.h>

int main(void)
{
    size_t size = 8 * 4096;
    char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED);
    memset(map, 'x', size);
    CHECK(madvise(map + 4096, 2 * 4096, MADV_DONTNEED) == 0);
    CHECK(map[0] == 'x' && map[4096] == 0 && map[3 * 4096 - 1] == 0 && map[3 * 4096] == 'x');

    int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && write(fd, "in the file", 11) == 11);
    char *file = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    strcpy(file, "own copy");
    CHECK(madvise(file, 4096, MADV_DONTNEED) == 0 && memcmp(file, "in the file", 11) == 0);
    CHECK(unlink("file") == 0);

    char *shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memset(shared, 's', size);
    CHECK(madvise(shared, 4096, MADV_DONTNEED) == 0 && shared[0] == 's'); /* the object keeps it */
    CHECK(madvise(shared + 4096, 4096, MADV_REMOVE) == 0 && shared[4096] == 0);

    CHECK(madvise(map, 4096, MADV_WIPEONFORK) == 0);
    CHECK(madvise(map + 7 * 4096, 4096, MADV_DONTFORK) == 0);
    map[6 * 4096] = 'f';
    CHECK(madvise(map + 6 * 4096, 4096, MADV_FREE) == 0);
    char freed = map[6 * 4096]; /* 'f', or 0 if the kernel took it in between */
    CHECK(freed == 'f' || freed == 0);
    map[6 * 4096] = 'g';
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(map[0] == 0 && map[3 * 4096] == 'x' && map[6 * 4096] == 'g');
        CHECK_FAILS(msync(map + 7 * 4096, 4096, MS_ASYNC), ENOMEM);
        _exit(0);
    }
    reap(child, 0);
    CHECK(map[0] == 'x' && map[7 * 4096] == 'x');
    int result = madvise(map, size, MADV_HUGEPAGE);
    CHECK(result == 0 || errno == EINVAL);
    CHECK(madvise(map, size, MADV_WILLNEED) == 0 && madvise(map, size, MADV_SEQUENTIAL) == 0);
    result = madvise(map, size, MADV_POPULATE_WRITE);
    CHECK(result == 0 || errno == EINVAL);
    CHECK_FAILS(madvise(map, size, 12345), EINVAL);
    unsigned char resident[8];
    CHECK(mincore(map, size, resident) == 0);
    for (int i = 0; i < 8; i++)
        printf("%d", resident[i] & 1);
    printf(" %c\n", freed ? freed : '0');
    result = mlock(map, 4096);
    CHECK(result == 0 || errno == ENOMEM || errno == EPERM);
    CHECK(munlock(map, 4096) == 0);
    return success();
}
