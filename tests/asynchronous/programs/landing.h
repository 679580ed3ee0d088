/* What the programs here share: a timer whose handler mixes everything about the place where
 * it landed (all registers, the legacy extended state, what the program names) into one number. A
 * replay that lands anywhere else prints another number. */
#ifndef LANDING_H
#define LANDING_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

static volatile uint64_t landing_hash = 0xcbf29ce484222325u;
static volatile unsigned landings, landings_wanted = 100;
static const volatile void *landing_probe;
static volatile size_t landing_probe_size;

static inline void mix(uint64_t value)
{
    landing_hash = (landing_hash ^ value) * 0x100000001b3u;
    landing_hash ^= landing_hash >> 29;
}

static inline void mix_context(const void *context)
{
    const ucontext_t *c = context;
    const unsigned char *fp = (const void *)c->uc_mcontext.fpregs;

    for (int i = 0; i <= REG_EFL; i++)
        mix((uint64_t)c->uc_mcontext.gregs[i]);
    for (int i = 32; fp && i < 416; i += 8) { /* st0-7, xmm0-15 */
        uint64_t word;

        memcpy(&word, fp + i, 8);
        mix(word);
    }
    for (size_t i = 0; landing_probe && i < landing_probe_size; i++)
        mix(((const volatile unsigned char *)landing_probe)[i]);
}

static inline void say_landings(void)
{
    char text[64];
    int n = snprintf(text, sizeof text, "%u landings %016llx\n", landings,
                     (unsigned long long)landing_hash);

    if (write(1, text, (size_t)n) != n)
        _exit(99);
}

/* Ends the program when there were enough: for loops without an end. */
static inline void landed_last(void)
{
    if (landings >= landings_wanted) {
        say_landings();
        _exit(0);
    }
}

static inline void on_landing(int signo, siginfo_t *info, void *context)
{
    (void)info;
    landings++;
    mix((uint64_t)signo);
    mix_context(context);
}

static inline void on_landing_or_end(int signo, siginfo_t *info, void *context)
{
    on_landing(signo, info, context);
    landed_last();
}

static inline void handle(int signo, void (*handler)(int, siginfo_t *, void *), int flags)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};

    sigaction(signo, &action, NULL);
}

static inline void every_us(int which, long us)
{
    struct itimerval period = {{us / 1000000, us % 1000000}, {us / 1000000, us % 1000000}};

    setitimer(which, &period, NULL);
}

static inline void wanted(int argc, char **argv)
{
    if (argc > 1)
        landings_wanted = (unsigned)atoi(argv[1]);
}

/* SIGALRM every millisecond from now on. */
static inline void land(int argc, char **argv, void (*handler)(int, siginfo_t *, void *))
{
    wanted(argc, argv);
    handle(SIGALRM, handler, 0);
    every_us(ITIMER_REAL, 1000);
}

static inline int enough(void)
{
    return landings >= landings_wanted;
}

#endif
