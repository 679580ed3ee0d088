/* Recursion: the state is the stack. */
#include "landing.h"

static volatile uint64_t rounds;

static uint64_t __attribute__((noinline)) fibonacci(unsigned n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static uint64_t __attribute__((noinline)) ackermann(uint64_t m, uint64_t n)
{
    if (!m)
        return n + 1;
    return ackermann(m - 1, n ? ackermann(m, n - 1) : 1);
}

int main(int argc, char **argv)
{
    land(argc, argv, on_landing);
    while (!enough()) {
        mix(fibonacci(18));
        mix(ackermann(2, 30));
        rounds++;
    }
    mix(rounds);
    say_landings();
    return 0;
}
