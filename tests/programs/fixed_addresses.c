/* Mappings at fixed addresses all over the lower space: each there or refused, none harmful. */
#include "check.h"

int main(void)
{
    int there = 0, refused = 0;
    for (uintptr_t at = 0x10000000; at < 0x80000000; at += 0x08000000) {
        char *map = mmap((void *)at, 0x10000, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
        if (map == MAP_FAILED) {
            refused++;
            continue;
        }
        CHECK((uintptr_t)map == at);
        strcpy(map, "mine");
        CHECK(getppid() > 0);
        CHECK(strcmp(map, "mine") == 0);
        there++;
    }
    CHECK(there > 0);
    for (uintptr_t at = 0x10000000; at < 0x80000000; at += 0x08000000) {
        munmap((void *)at, 0x08000000); /* more than was mapped */
        CHECK(getppid() > 0);
    }
    char *low = mmap(NULL, 65536, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    CHECK(low != MAP_FAILED && (uintptr_t)low < 0x80000000);
    memset(low, 1, 65536);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        _exit(low[65535]);
    reap(child, 1);
    void *hint = mmap((void *)0x70000000, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(hint != MAP_FAILED);
    int ends[2];
    CHECK(pipe(ends) == 0);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        tell(ends[1]);
        _exit(0);
    }
    await(ends[0]);
    reap(child, 0);
    (void)refused;
    return success();
}
