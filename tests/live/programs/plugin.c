/* Loads plugin_lib.so and calls it N times; loads it again afterwards. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    long sum = 0, n = argc > 2 ? atol(argv[2]) : 10;

    for (int round = 0; round < 2; round++) {
        void *library = dlopen(argv[1], RTLD_NOW);
        long (*call)(long) = library ? (long (*)(long))dlsym(library, "plugin_site") : NULL;

        if (!call)
            return 1;
        for (long i = 0; i < n; i++)
            sum += call(i);
        dlclose(library);
    }
    printf("%ld\n", sum);
    return 0;
}
