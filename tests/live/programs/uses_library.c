/* Calls the functions of library.c: of a library that it is linked with, or of one that it loads. */
#include "library.h"

#include <dlfcn.h>
#include <stdio.h>

typedef int handle_t(struct request *, int);
typedef struct opaque *make_t(int);

__attribute__((noinline)) int look(struct opaque *made)
{
    return made != NULL;
}

int main(int argc, char **argv)
{
#ifdef LINKED
    handle_t *h = handle;
    make_t *m = make;
    exported += 10;
    (void)argv;
#else
    void *library = dlopen(argv[1], RTLD_NOW);
    handle_t *h = (handle_t *)dlsym(library, "handle");
    make_t *m = (make_t *)dlsym(library, "make");
#endif
    struct request parent = {"parent", 10, NULL, 0}, request = {"child", 5000, &parent, argc};
    int total = 0;

    for (int i = 0; i < 3; i++) {
        total += h(&request, i);
        request.length += 1000;
        total += look(m(i + 1));
    }
    printf("%d\n", total);
    return 0;
}
