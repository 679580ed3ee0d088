/* `site` is executed N times while a timer's signals arrive; the handler executes `handled`. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

volatile long handled_count, sum;

__attribute__((noinline)) void handled(int signo)
{
    handled_count += signo == SIGALRM;
}

static void handler(int signo)
{
    handled(signo);
}

__attribute__((noinline)) long site(long number)
{
    return __builtin_bswap64((unsigned long)number) + 1;
}

int main(int argc, char **argv)
{
    struct itimerval every = {{0, 300}, {0, 300}}, off = {{0, 0}, {0, 0}};
    long n = argc > 1 ? atol(argv[1]) : 1000;

    signal(SIGALRM, handler);
    setitimer(ITIMER_REAL, &every, NULL);
    for (long i = 0; i < n; i++)
        sum += site(i);
    setitimer(ITIMER_REAL, &off, NULL);
    printf("%ld %lx\n", handled_count, sum);
    return 0;
}
