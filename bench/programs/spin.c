/* CPU-bound: arithmetic and memory, no system call in between.  Argument: millions of rounds. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    static uint64_t table[1 << 14];
    uint64_t state = 88172645463325252u, rounds = strtoull(argc > 1 ? argv[1] : "300", NULL, 10);
    for (uint64_t i = 0; i < rounds * 1000000; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        table[state >> 50] += state;
    }
    for (int i = 0; i < 1 << 14; i++)
        state ^= table[i];
    printf("%lx\n", (unsigned long)state);
    return 0;
}
