/* A library with variables of all kinds of visibility; see uses_library.c. */
#include "library.h"

#include <stdlib.h>

static __thread int of_a_thread = 5;
__thread long shown_to_all = -6;
static int calls = -1;
int exported = 3;
struct opaque {
    int number;
    int secret;
};

struct opaque *make(int number)
{
    struct opaque *made = malloc(sizeof(*made));

    made->number = number;
    made->secret = number * -7;
    return made;
}

int handle(struct request *request, int number)
{
    of_a_thread += number;
    shown_to_all -= number;
    calls++;
    exported++;
    return (int)request->length + of_a_thread + (int)shown_to_all;
}
