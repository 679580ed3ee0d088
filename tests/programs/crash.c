/*
 * A crash: nobody handles the SIGSEGV, and the status says so.
 * @status SIGSEGV
 */
#include "check.h"
#include <sys/prctl.h>

int main(void)
{
    CHECK(prctl(PR_SET_DUMPABLE, 0) == 0); /* no core file */
    printf("about to crash in %d\n", getpid());
    success();
    *(volatile int *)16 = 1;
    return 0;
}
