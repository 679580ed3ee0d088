/* memcpy, memset, memmove and the repeated string instructions, forwards and backwards. */
#include "landing.h"

#define SIZE 200000
static unsigned char a[SIZE], b[SIZE];

static void movs(void *to, const void *from, size_t n)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

static void stos(void *to, unsigned long value, size_t words)
{
    __asm__ volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(value) : "memory");
}

static void movs_backwards(unsigned char *to, const unsigned char *from, size_t n)
{
    to += n - 1;
    from += n - 1;
    __asm__ volatile("std\n rep movsb\n cld" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

static size_t scan(const void *at, unsigned char value, size_t n)
{
    __asm__ volatile("repne scasb" : "+D"(at), "+c"(n) : "a"(value) : "memory", "cc");
    return n;
}

int main(int argc, char **argv)
{
    unsigned char round = 0;

    land(argc, argv, on_landing);
    while (!enough()) {
        memset(a, round++, SIZE);
        memcpy(b, a, SIZE);
        memmove(b + 1, b, SIZE - 1);
        movs(a, b, SIZE);
        stos(b, 0x0101010101010101ul * round, SIZE / 8);
        movs_backwards(a, b, SIZE / 16);
        b[SIZE - 1] = (unsigned char)(round + 77);
        mix(scan(b, (unsigned char)(round + 77), SIZE));
        mix(a[round]);
    }
    say_landings();
    return 0;
}
