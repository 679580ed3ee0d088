#include "project.h"
#include <stdlib.h>
#include <string.h>

char *repeat(const char *text, unsigned times)
{
    size_t length = strlen(text);
    char *result = malloc(length * times + 1);
    if (!result)
        abort();
    for (unsigned i = 0; i < times; i++)
        memcpy(result + i * length, text, length);
    result[length * times] = 0;
    return result;
}
