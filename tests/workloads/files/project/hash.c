#include "project.h"

unsigned long hash(const char *text)
{
    unsigned long value = 14695981039346656037ul;
    for (; *text; text++)
        value = (value ^ (unsigned char)*text) * 1099511628211ul;
    return value;
}
