/* Answers each SIGHUP, and reads its stdin to the end meanwhile. */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static void on_hangup(int number)
{
    (void)number;
    if (write(1, "got it\n", 7) != 7)
        abort();
}

int main(void)
{
    const struct sigaction action = {.sa_handler = on_hangup, .sa_flags = SA_RESTART};
    char byte;
    ssize_t n;

    sigaction(SIGHUP, &action, NULL);
    if (write(1, "ready\n", 6) != 6)
        return 1;
    while ((n = read(0, &byte, 1)) > 0)
        ;
    return n ? 1 : 0;
}
