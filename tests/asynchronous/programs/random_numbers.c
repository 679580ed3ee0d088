/* Random numbers: the state lies in libc's own data. */
#include "landing.h"

static volatile unsigned long drawn;

int main(int argc, char **argv)
{
    unsigned seed = 7;
    double sum = 0;

    srandom(1);
    srand48(1);
    land(argc, argv, on_landing);
    while (!enough()) {
        drawn++;
        sum += (double)(random() & 15) + drand48() + (rand_r(&seed) & 1);
    }
    mix((uint64_t)sum);
    mix(drawn);
    say_landings();
    return 0;
}
