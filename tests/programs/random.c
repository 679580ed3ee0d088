/*
 * Random bytes from everywhere: getrandom, AT_RANDOM, /dev/urandom, getentropy, addresses.
 * @also static
 */
#include "check.h"
#include <sys/auxv.h>
#include <sys/random.h>

static void show(const char *what, const unsigned char *bytes, int size)
{
    printf("%s ", what);
    for (int i = 0; i < size; i++)
        printf("%02x", bytes[i]);
    printf("\n");
}

int main(void)
{
    unsigned char bytes[64], big[4096], *initial = (unsigned char *)getauxval(AT_RANDOM);
    CHECK(initial);
    show("AT_RANDOM", initial, 16);
    CHECK(getrandom(bytes, sizeof bytes, 0) == sizeof bytes);
    show("getrandom", bytes, 16);
    CHECK(getrandom(big, sizeof big, GRND_NONBLOCK) == sizeof big);
    show("nonblock", big + 4000, 16);
    CHECK(getentropy(bytes, 32) == 0);
    show("getentropy", bytes, 16);
    int fd = open("/dev/urandom", O_RDONLY);
    CHECK(fd >= 0 && read(fd, bytes, 16) == 16);
    show("urandom", bytes, 16);
    CHECK_FAILS(getrandom(bytes, 1, 0x8000), EINVAL);
    void *heap = malloc(100), *map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    printf("stack %p heap %p map %p code %p\n", (void *)&fd, heap, map, (void *)(uintptr_t)main);
    return success();
}
