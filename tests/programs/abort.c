/*
 * abort: a handler that returns does not save the program.
 * @status SIGABRT
 */
#include "check.h"
#include <sys/prctl.h>

static void on_abort(int signal_number)
{
    CHECK(signal_number == SIGABRT);
    CHECK(write(1, "handled\n", 8) == 8);
}

int main(void)
{
    CHECK(prctl(PR_SET_DUMPABLE, 0) == 0);
    CHECK(signal(SIGABRT, on_abort) != SIG_ERR);
    success();
    abort();
}
