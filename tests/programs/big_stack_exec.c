/* exec with many and long arguments and variables: they arrive whole. */
#include "check.h"

#define COUNT 3000

int main(int argc, char **argv)
{
    if (argc == COUNT) {
        unsigned long total = 0;
        for (int i = 0; i < argc; i++)
            total += strlen(argv[i]);
        CHECK(strcmp(argv[COUNT - 1], "the last") == 0);
        CHECK(strlen(getenv("LONG")) == 100000 && strcmp(getenv("EMPTY"), "") == 0);
        printf("%lu\n", total);
        return success();
    }
    static char *args[COUNT + 1], text[COUNT][40], long_text[100006];
    for (int i = 0; i < COUNT; i++) {
        snprintf(text[i], sizeof text[i], "%d%.*s", i, i % 30, "..............................");
        args[i] = text[i];
    }
    args[COUNT - 1] = "the last";
    memset(long_text, 'l', 100005);
    memcpy(long_text, "LONG=", 5);
    char *variables[] = {long_text, "EMPTY=", NULL};
    execve("/proc/self/exe", args, variables);
    CHECK(!"exec returned");
}
