/* Out of handlers by siglongjmp, the mask restored or not; out of a system call too. */
#include "check.h"
#include <setjmp.h>

static sigjmp_buf back;

static void on_signal(int signal_number)
{
    siglongjmp(back, signal_number);
}

int main(void)
{
    int silent[2];
    CHECK(pipe(silent) == 0);
    CHECK(signal(SIGUSR1, on_signal) != SIG_ERR && signal(SIGSEGV, on_signal) != SIG_ERR);
    CHECK(signal(SIGALRM, on_signal) != SIG_ERR);
    for (volatile int i = 0; i < 10; i++) {
        if (sigsetjmp(back, 1) == 0) {
            CHECK(raise(SIGUSR1) == 0);
            CHECK(!"came back");
        }
        if (sigsetjmp(back, 1) == 0) {
            *(volatile int *)40 = i;
            CHECK(!"came back");
        }
        sigset_t set;
        CHECK(sigprocmask(SIG_SETMASK, NULL, &set) == 0);
        CHECK(!sigismember(&set, SIGUSR1) && !sigismember(&set, SIGSEGV));
    }
    if (sigsetjmp(back, 1) == 0) {
        char byte;
        struct itimerval soon = {.it_value.tv_usec = 2000};
        CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
        CHECK(read(silent[0], &byte, 1) == 1); /* restarted for ever, but for the jump */
        CHECK(!"read");
    }
    return success();
}
