/*
 * brk and sbrk: the heap grows by pages, shrinks, and is zero when it comes back.
 * @also static
 */
#include "check.h"

int main(void)
{
    char *start = sbrk(0);
    CHECK(start != (void *)-1);
    CHECK(sbrk(1 << 20) == start);
    memset(start, 'h', 1 << 20);
    CHECK(sbrk(-(1 << 19)) == start + (1 << 20));
    CHECK(start[(1 << 19) - 1] == 'h');
    CHECK(sbrk(1 << 19) == start + (1 << 19));
    char *page = (char *)(((uintptr_t)start + (1 << 19) + 4095) & ~4095ul);
    for (; page < start + (1 << 20); page += 4096)
        CHECK(*page == 0);
    for (int i = 0; i < 100; i++)
        CHECK(sbrk(1000) != (void *)-1);
    CHECK((long)sbrk(0) == (long)start + (1 << 20) + 100000);
    CHECK(brk(start) == 0 && sbrk(0) == start);
    CHECK((char *)syscall(SYS_brk, 0) == start);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(sbrk(65536) == start);
        start[65535] = 1;
        _exit(0);
    }
    reap(child, 0);
    CHECK(sbrk(0) == start);
    for (int i = 0; i < 200; i++) {
        char *block = malloc((size_t)i * 700 + 1);
        CHECK(block);
        block[i * 700] = (char)i;
        if (i % 3)
            free(block);
    }
    printf("heap %p\n", (void *)start);
    return success();
}
