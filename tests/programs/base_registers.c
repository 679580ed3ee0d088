/* rdfsbase, wrgsbase and their kin: thread bases changed without a system call. */
#include "check.h"
#include <asm/prctl.h>
#include <sys/auxv.h>

int main(void)
{
    if (!(getauxval(AT_HWCAP2) & 2)) /* HWCAP2_FSGSBASE */
        SKIP("no fsgsbase instructions");
    uint64_t fs, asked, gs, old;
    __asm__ volatile("rdfsbase %0" : "=r"(fs));
    CHECK(syscall(SYS_arch_prctl, ARCH_GET_FS, &asked) == 0 && asked == fs);
    static uint64_t words[2] = {33, 44};
    __asm__ volatile("rdgsbase %0" : "=r"(old));
    __asm__ volatile("wrgsbase %0" : : "r"(words));
    CHECK(getppid() > 0); /* a call in between: the base stays */
    CHECK(raise(0) == 0);
    __asm__ volatile("movq %%gs:8, %0" : "=r"(gs));
    CHECK(gs == 44);
    CHECK(syscall(SYS_arch_prctl, ARCH_GET_GS, &asked) == 0 && asked == (uintptr_t)words);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        __asm__ volatile("movq %%gs:0, %0" : "=r"(gs));
        _exit(gs == 33 ? 0 : 1);
    }
    reap(child, 0);
    __asm__ volatile("wrgsbase %0" : : "r"(old));
    printf("fs %lx\n", (unsigned long)fs);
    return success();
}
