/* Spins while the byte read from stdin is not 'x': in a recording it is one, and the loop ends. */
#include <stdio.h>
#include <unistd.h>

int main(void)
{
    volatile char c = 0;

    if (read(0, (char *)&c, 1) != 1)
        return 1;
    while (c != 'x')
        ;
    puts("seen");
    return 0;
}
