/* A mapping that grows downwards by itself, with its guard; stack rights changed. */
#include "check.h"

int main(void)
{
    size_t room = 64 * 4096;
    char *area = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(area != MAP_FAILED && munmap(area, room) == 0);
    char *top = mmap(area + room - 4096, 4096, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
    CHECK(top == area + room - 4096);
    for (int page = 0; page < 20; page++) {
        top -= 4096;
        *(volatile char *)top = (char)page; /* grows by one page */
    }
    CHECK(top[0] == 19 && top[4096] == 18);
    int ends[2];
    CHECK(pipe(ends) == 0 && write(ends[1], "below", 5) == 5);
    ssize_t count = read(ends[0], top - 100, 5); /* the kernel grows it */
    CHECK(count == 5 || (count == -1 && errno == EFAULT));
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        _exit(top[0]);
    reap(child, 19);
    printf("%zd\n", count);
    return success();
}
