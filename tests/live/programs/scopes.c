/* Functions with many variables, for comparisons with gdb at every line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef struct { short tag; int values[5]; unsigned char flags; } item;
struct pair { long first; int second; };
static item items[6];
static int total = -3;
unsigned char bytes[16] = { 1, 2, 250 };
static inline int scale(int x, int by)
{
    int scaled = x * by;
    if (scaled < 0)
        scaled = -scaled + 1;
    return scaled;
}
__attribute__((noinline)) static long sum(const item *list, int count, unsigned mask, short bias)
{
    long outcome = bias;
    for (int i = 0; i < count; i++) {
        const item *one = list + i;
        int part = 0;
        for (unsigned j = 0; j < 5; j++) {
            part += one->values[j] & mask;
            total ^= part;
        }
        outcome += scale(part, one->tag);
        if (one->flags & 1)
            outcome -= bytes[i];
    }
    return outcome;
}
__attribute__((noinline)) struct pair both(struct pair p, signed char c, unsigned long long big, long a4, long a5, long a6, short a7, unsigned char a8)
{
    struct pair q = { p.first + c, p.second - (int)big };
    q.first *= a4 + a5;
    q.second += a6 - a7 * a8;
    return q;
}
static unsigned long hash(const char *text)
{
    unsigned long h = 5381;
    size_t length = strlen(text);
    char copy[32];
    memcpy(copy, text, length + 1);
    for (size_t kk = 0; kk < length; kk++) {
        int symb = copy[kk];
        h = h * 33 + symb;
    }
    return h;
}
int main(int argc, char **argv)
{
    int rounds = argc + 2;
    for (int r = 0; r < rounds; r++) {
        for (int i = 0; i < 6; i++) {
            items[i].tag = (short)(i * r - 3);
            items[i].flags = (unsigned char)(r + i);
            for (int v = 0; v < 5; v++)
                items[i].values[v] = (v - 2) * 1000 + i * r;
        }
        long s = sum(items, 6, 0xffffff0f, (short)(-7 * r));
        struct pair p = { s, r };
        p = both(p, (signed char)(-r), 1ull << 33, 3, -4, 5, -6, 200);
        unsigned long h = hash(r ? "text" : "another text");
        printf("%ld %ld %d %lu %d\n", s, p.first, p.second, h, total);
    }
    return 0;
}
