/* Unbuffered system calls: reads of one byte.  Argument: how many. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    long count = argc > 1 ? atol(argv[1]) : 300000, sum = 0;
    int fd = open("/dev/zero", O_RDONLY);
    for (long i = 0; i < count; i++) {
        char byte = 1;
        if (read(fd, &byte, 1) != 1)
            return 1;
        sum += byte;
    }
    return sum != 0;
}
