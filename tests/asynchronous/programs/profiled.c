/* SIGPROF at 1 kHz, SA_RESTART, over code with system calls in it. */
#include "landing.h"
#include <fcntl.h>

static volatile uint64_t done;

int main(int argc, char **argv)
{
    int fd = open("/dev/zero", O_RDONLY);
    char bytes[64];

    wanted(argc, argv);
    handle(SIGPROF, on_landing, SA_RESTART);
    every_us(ITIMER_PROF, 1000);
    while (!enough()) {
        for (volatile unsigned i = 0; i < 3000; i++)
            done += i;
        if (read(fd, bytes, sizeof bytes) != sizeof bytes)
            return 1;
    }
    mix(done);
    say_landings();
    return 0;
}
