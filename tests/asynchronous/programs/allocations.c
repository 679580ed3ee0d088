/* malloc and free, large and small, and string functions. */
#include "landing.h"

int main(int argc, char **argv)
{
    static char *kept[257];
    unsigned seed = 5;
    uint64_t total = 0;

    land(argc, argv, on_landing);
    while (!enough()) {
        unsigned which = (seed = seed * 1103515245 + 12345) >> 16;
        char **place = &kept[which % 257];
        size_t size = which % 17 ? which % 600 + 1 : which % 100000 + 1;

        free(*place);
        *place = malloc(size);
        memset(*place, 'x', size);
        (*place)[size - 1] = 0;
        total += strlen(*place) + (strchr(*place, 'y') != NULL);
    }
    mix(total);
    say_landings();
    return 0;
}
