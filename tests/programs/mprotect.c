/* mprotect: pages given and taken, code made at run time, a system call into a protected page. */
#include "check.h"

int main(void)
{
    char *map = mmap(NULL, 4 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED);
    CHECK(mprotect(map, 2 * 4096, PROT_READ | PROT_WRITE) == 0);
    strcpy(map, "text");
    CHECK(mprotect(map, 4096, PROT_READ) == 0);
    int ends[2];
    CHECK(pipe(ends) == 0);
    CHECK(write(ends[1], map, 4) == 4);
    CHECK_FAILS(read(ends[0], map, 4), EFAULT);
    CHECK(read(ends[0], map + 4096, 100) > 0 || errno == EAGAIN);
    CHECK(write(ends[1], "0123456789", 10) == 10);
    /* Half of the buffer can be written: the kernel says how far it came, or EFAULT. */
    ssize_t count = read(ends[0], map + 2 * 4096 - 5, 10);
    CHECK(count == 5 || (count == -1 && errno == EFAULT));
    CHECK_FAILS(write(ends[1], map + 2 * 4096, 1), EFAULT);

    /* mov eax, edi; add eax, imm8; ret */
    unsigned char code[] = {0x89, 0xf8, 0x83, 0xc0, 0x07, 0xc3};
    for (int i = 0; i < 50; i++) {
        code[4] = (unsigned char)i;
        CHECK(mprotect(map + 4096, 4096, PROT_READ | PROT_WRITE) == 0);
        memcpy(map + 4096, code, sizeof code);
        CHECK(mprotect(map + 4096, 4096, PROT_READ | PROT_EXEC) == 0);
        int (*function)(int);
        memcpy(&function, &(void *){map + 4096}, sizeof function);
        CHECK(function(100) == 100 + i);
    }
    CHECK_FAILS(mprotect(map + 1, 4096, PROT_READ), EINVAL);
    CHECK(munmap(map, 4096) == 0);
    CHECK_FAILS(mprotect(map, 2 * 4096, PROT_READ), ENOMEM);
    printf("%p %zd\n", (void *)map, count);
    return success();
}
