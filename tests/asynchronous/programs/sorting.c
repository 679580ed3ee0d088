/* qsort and its callbacks. */
#include "landing.h"

#define N 3000
static int numbers[N];
static volatile uint64_t compared;

static int by_value(const void *x, const void *y)
{
    compared++;
    return *(const int *)x - *(const int *)y;
}

int main(int argc, char **argv)
{
    unsigned seed = 1;

    land(argc, argv, on_landing);
    while (!enough()) {
        for (int i = 0; i < N; i++)
            numbers[i] = (int)((seed = seed * 1103515245 + 12345) >> 16 & 1023);
        qsort(numbers, N, sizeof *numbers, by_value);
        mix((uint64_t)numbers[N / 2]);
    }
    mix(compared);
    say_landings();
    return 0;
}
