/* SIGFPE, SIGILL, SIGTRAP and SIGBUS that the program brings on itself; handled, and fatal. */
#include "check.h"
#include <sys/prctl.h>
#include <ucontext.h>

static volatile int seen_signal, seen_code;
static void *volatile seen_address;
static int skip; /* bytes of the faulting instruction to step over */

static void on_fault(int signal_number, siginfo_t *info, void *context)
{
    ucontext_t *state = context;
    seen_signal = signal_number;
    seen_code = info->si_code;
    seen_address = info->si_addr;
    state->uc_mcontext.gregs[REG_RIP] += skip;
}

static void expect(int signal_number, int code)
{
    CHECK(seen_signal == signal_number && seen_code == code);
    seen_signal = seen_code = 0;
}

static void divide(void)
{
    int high = 0, low = 1, zero = 0;
    __asm__ volatile("idivl %2" : "+a"(low), "+d"(high) : "c"(zero)); /* f7 f9: two bytes */
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    static const int signals[] = {SIGFPE, SIGILL, SIGTRAP, SIGBUS, SIGSEGV};
    CHECK(prctl(PR_SET_DUMPABLE, 0) == 0);
    for (int i = 0; i < 5; i++)
        CHECK(sigaction(signals[i], &action, NULL) == 0);
    for (int round = 0; round < 5; round++) {
        skip = 2;
        divide();
        expect(SIGFPE, FPE_INTDIV);
        __asm__ volatile("ud2");
        expect(SIGILL, ILL_ILLOPN);
        skip = 0;
        __asm__ volatile("int3");
        expect(SIGTRAP, SI_KERNEL);
        skip = 1;
        __asm__ volatile("hlt"); /* privileged */
        expect(SIGSEGV, SI_KERNEL);
        /* a non-canonical address has no si_addr */
        skip = 3;
        __asm__ volatile("movb (%%rax), %%cl\n\tnop" : : "a"(0x8000000000000000u) : "rcx");
        expect(SIGSEGV, SI_KERNEL);
    }
    int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && write(fd, "x", 1) == 1);
    char *map = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(map != MAP_FAILED && map[0] == 'x');
    skip = 2;
    __asm__ volatile("movb (%%rax), %%cl" : : "a"(map + 4096) : "rcx"); /* 8a 08 */
    CHECK(seen_address == map + 4096);
    expect(SIGBUS, BUS_ADRERR);
    CHECK_FAILS(write(fd, map + 4096, 1), EFAULT);
    CHECK(unlink("file") == 0);
    /* A handler is not called while its signal is blocked: the fault kills. */
    for (int i = 0; i < 5; i++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            if (i % 2) {
                sigset_t set;
                sigemptyset(&set);
                sigaddset(&set, signals[i]);
                CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
            } else {
                CHECK(signal(signals[i], i == 0 ? SIG_IGN : SIG_DFL) != SIG_ERR);
            }
            switch (signals[i]) {
            case SIGFPE:
                divide();
                break;
            case SIGILL:
                __asm__ volatile("ud2");
                break;
            case SIGTRAP:
                __asm__ volatile("int3");
                break;
            case SIGBUS:
                map[4096] = 1;
                break;
            default:
                *(volatile int *)32 = 1;
            }
            _exit(1);
        }
        reap_killed(child, signals[i]);
    }
    return success();
}
