/* mremap: shrink, grow in place or move, to a fixed address, keeping the old one, of a file. */
#include "check.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

int main(void)
{
    char *map = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED);
    for (int i = 0; i < 16; i++)
        map[i * 4096] = (char)i;
    CHECK(mremap(map, 16 * 4096, 4 * 4096, 0) == map);
    CHECK(mremap(map, 4 * 4096, 8 * 4096, 0) == map); /* room was just made */
    CHECK(map[3 * 4096] == 3 && map[7 * 4096] == 0);
    char *blocker = mmap(map + 8 * 4096, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                         -1, 0);
    CHECK(blocker == map + 8 * 4096);
    CHECK_FAILS(mremap(map, 8 * 4096, 64 * 4096, 0), ENOMEM);
    char *moved = mremap(map, 8 * 4096, 64 * 4096, MREMAP_MAYMOVE);
    CHECK(moved != MAP_FAILED && moved != map && moved[3 * 4096] == 3 && moved[63 * 4096] == 0);
    char *target = mmap(NULL, 64 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(mremap(moved, 64 * 4096, 64 * 4096, MREMAP_MAYMOVE | MREMAP_FIXED, target) == target);
    CHECK(target[2 * 4096] == 2);
    CHECK_FAILS(msync(moved, 4096, MS_ASYNC), ENOMEM);
    char *kept = mremap(target, 64 * 4096, 64 * 4096, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
    if (kept != MAP_FAILED)
        CHECK(kept[2 * 4096] == 2 && target[2 * 4096] == 0);
    CHECK_FAILS(mremap((char *)map + 1, 4096, 8192, MREMAP_MAYMOVE), EINVAL);

    int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && ftruncate(fd, 8 * 4096) == 0);
    CHECK(pwrite(fd, "first", 5, 0) == 5 && pwrite(fd, "fifth", 5, 4 * 4096) == 5);
    char *file = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    CHECK(file != MAP_FAILED && memcmp(file, "first", 5) == 0);
    file = mremap(file, 4096, 8 * 4096, MREMAP_MAYMOVE); /* more of the file appears */
    CHECK(file != MAP_FAILED && memcmp(file + 4 * 4096, "fifth", 5) == 0);
    char *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    shared = mremap(shared, 4096, 8 * 4096, MREMAP_MAYMOVE);
    CHECK(shared != MAP_FAILED);
    memcpy(shared + 7 * 4096, "last", 4);
    char text[4];
    CHECK(pread(fd, text, 4, 7 * 4096) == 4 && memcmp(text, "last", 4) == 0);
    CHECK(unlink("file") == 0);
    printf("%p %p\n", (void *)moved, (void *)target);
    return success();
}
