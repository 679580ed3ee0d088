/* Terabytes of reserved memory with a page touched here and there, as sanitizers have. */
#include "check.h"
#include <sys/mman.h>

int main(void)
{
    size_t size = (size_t)64 << 40;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED)
        SKIP("no room for 64 TiB of reserved memory");
    for (size_t at = 12345; at < size; at += (size_t)5 << 40)
        snprintf(memory + at, 30, "at %zu by %d", at, getpid());
    for (size_t at = 12345; at < size; at += (size_t)5 << 40)
        printf("%s\n", memory + at);
    return success();
}
