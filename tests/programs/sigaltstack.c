/* An alternate stack: the handler runs there, also after the stack overflowed; SA_ONSTACK flags. */
#include "check.h"
#include <setjmp.h>
#include <sys/resource.h>

static char *stack;
static sigjmp_buf back;
static volatile int on_stack;

static void on_signal(int signal_number, siginfo_t *info, void *context)
{
    char here;
    (void)context;
    stack_t now;
    CHECK(sigaltstack(NULL, &now) == 0);
    on_stack = &here >= stack && &here < stack + 65536;
    CHECK(!!(now.ss_flags & SS_ONSTACK) == on_stack);
    if (signal_number == SIGSEGV) {
        CHECK(info->si_addr != NULL);
        siglongjmp(back, 1);
    }
}

static int overflow(volatile char *above)
{
    volatile char frame[8192];
    frame[0] = above ? above[0] : 1;
    return frame[0] ? overflow(frame) + frame[0] : 0; /* always 1: no end but the stack's */
}

int main(void)
{
    stack = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(stack != MAP_FAILED);
    stack_t alternate = {.ss_sp = stack, .ss_size = 65536}, old;
    CHECK(sigaltstack(&alternate, &old) == 0 && (old.ss_flags & SS_DISABLE));
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0 && sigaction(SIGSEGV, &action, NULL) == 0);
    CHECK(raise(SIGUSR1) == 0 && on_stack == 1);
    action.sa_flags = SA_SIGINFO;
    CHECK(sigaction(SIGUSR2, &action, NULL) == 0);
    CHECK(raise(SIGUSR2) == 0 && on_stack == 0);
    struct rlimit limit = {.rlim_cur = 1 << 20}, before;
    CHECK(getrlimit(RLIMIT_STACK, &before) == 0);
    limit.rlim_max = before.rlim_max;
    CHECK(setrlimit(RLIMIT_STACK, &limit) == 0);
    for (volatile int i = 0; i < 3; i++) {
        if (sigsetjmp(back, 1) == 0)
            printf("%d\n", overflow(NULL));
        CHECK(on_stack == 1);
        on_stack = 0;
    }
    CHECK(setrlimit(RLIMIT_STACK, &before) == 0);
    alternate.ss_flags = SS_DISABLE;
    CHECK(sigaltstack(&alternate, NULL) == 0);
    CHECK(raise(SIGUSR1) == 0 && on_stack == 0);
    return success();
}
