/* Huge mappings of which little is touched: 64 GiB private, a sparse 8 GiB file, still there at exit. */
#include "check.h"

int main(void)
{
    size_t size = 1ul << 36;
    char *map = mmap(NULL, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED)
        SKIP("64 GiB of addresses are not to be had");
    for (size_t at = 0; at < size; at += size / 64)
        map[at] = (char)(at >> 32);
    int fd = open("sparse", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0);
    if (ftruncate(fd, 1l << 33) == 0) {
        char *shared = mmap(NULL, 1ul << 33, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (shared != MAP_FAILED) {
            strcpy(shared + (1ul << 32), "in the middle");
            char text[14];
            CHECK(pread(fd, text, 14, 1l << 32) == 14 && strcmp(text, "in the middle") == 0);
        }
        char *copy = mmap(NULL, 1ul << 33, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
        if (copy != MAP_FAILED)
            copy[1ul << 31] = 1;
    }
    CHECK(unlink("sparse") == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        map[5] = 5;
        _exit(0);
    }
    reap(child, 0);
    CHECK(map[5] == 0);
    return success();
}
