/* prctl and arch_prctl: name, parent's death signal, dumpable, subreaper, thread area bases. */
#include "check.h"
#include <asm/prctl.h>
#include <sys/prctl.h>

int main(void)
{
    char name[16];
    int value;
    CHECK(prctl(PR_SET_NAME, "a name much too long") == 0 && prctl(PR_GET_NAME, name) == 0);
    CHECK(strcmp(name, "a name much too") == 0);
    CHECK(prctl(PR_GET_PDEATHSIG, &value) == 0 && value == 0);
    CHECK(prctl(PR_SET_DUMPABLE, 0) == 0 && prctl(PR_GET_DUMPABLE) == 0);
    CHECK(prctl(PR_SET_DUMPABLE, 1) == 0);
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    CHECK(prctl(PR_GET_CHILD_SUBREAPER, &value) == 0 && value == 1);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
    CHECK(prctl(PR_SET_TIMERSLACK, 60000) == 0 && prctl(PR_GET_TIMERSLACK) == 60000);
    CHECK(prctl(PR_CAPBSET_READ, 0) >= 0);
    int tid_address_result = prctl(PR_GET_TID_ADDRESS, &value);
    CHECK(tid_address_result == 0 || errno == EINVAL);
    CHECK_FAILS(prctl(987654, 0, 0, 0, 0), EINVAL);
    unsigned long base, other = 0x123456789000;
    CHECK(syscall(SYS_arch_prctl, ARCH_GET_FS, &base) == 0 && base != 0);
    CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, other) == 0);
    CHECK(syscall(SYS_arch_prctl, ARCH_GET_GS, &base) == 0 && base == other);
    static uint64_t words[2] = {11, 22};
    CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, words) == 0);
    uint64_t loaded;
    __asm__ volatile("movq %%gs:8, %0" : "=r"(loaded));
    CHECK(loaded == 22);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        __asm__ volatile("movq %%gs:0, %0" : "=r"(loaded));
        CHECK(loaded == 11);
        CHECK(prctl(PR_SET_PDEATHSIG, SIGTERM) == 0);
        CHECK(prctl(PR_GET_NAME, name) == 0 && strcmp(name, "a name much too") == 0);
        _exit(0);
    }
    reap(child, 0);
    return success();
}
