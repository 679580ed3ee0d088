/* Shared mappings of a file: stores, write calls and another process see each other. */
#include "check.h"

int main(void)
{
    int fd = open("shared", O_RDWR | O_CREAT | O_TRUNC, 0600), go[2], back[2];
    CHECK(fd >= 0 && ftruncate(fd, 16384) == 0 && pipe(go) == 0 && pipe(back) == 0);
    volatile char *map = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    volatile char *other = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 4096);
    CHECK(map != MAP_FAILED && other != MAP_FAILED);
    char text[16] = {0};
    memcpy((char *)map + 4096, "stored", 6);
    CHECK(memcmp((char *)other, "stored", 6) == 0);
    CHECK(pread(fd, text, 6, 4096) == 6 && memcmp(text, "stored", 6) == 0);
    CHECK(pwrite(fd, "written", 7, 5000) == 7); /* the kernel writes what we see */
    CHECK(memcmp((char *)map + 5000, "written", 7) == 0);
    CHECK(memcmp((char *)other + 904, "written", 7) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        int own = open("shared", O_RDWR);
        CHECK(own >= 0);
        volatile char *fresh = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, own, 0);
        CHECK(fresh != MAP_FAILED);
        for (int i = 0; i < 50; i++) {
            await(go[0]);
            CHECK(map[0] == i && fresh[0] == i);
            if (i % 2)
                fresh[1] = (char)(map[0] * 2);
            else
                CHECK(pwrite(own, &(char){(char)(i * 2)}, 1, 1) == 1);
            tell(back[1]);
        }
        _exit(0);
    }
    for (int i = 0; i < 50; i++) {
        map[0] = (char)i;
        tell(go[1]);
        await(back[0]);
        CHECK(map[1] == (char)(i * 2));
    }
    reap(child, 0);
    CHECK(msync((void *)map, 16384, MS_SYNC) == 0);
    /* writev into the mapped file from the mapping itself */
    struct iovec vector[] = {{(char *)map + 4096, 6}, {(char *)map + 5000, 7}};
    CHECK(pwritev(fd, vector, 2, 12000) == 13);
    CHECK(memcmp((char *)map + 12000, "storedwritten", 13) == 0);
    CHECK(ftruncate(fd, 4096) == 0 && ftruncate(fd, 16384) == 0);
    CHECK(map[4096] == 0 && map[0] == 49); /* cut off, and grown again with zeros */
    CHECK(munmap((void *)map, 16384) == 0 && other[0] == 0);
    CHECK(unlink("shared") == 0);
    return success();
}
