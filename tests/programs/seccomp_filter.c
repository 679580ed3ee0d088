/* Filters the program installs itself: ERRNO, TRAP with a SIGSYS handler, KILL, inherited, stacked. */
#include "check.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <ucontext.h>

static volatile int trapped, trapped_call;

static void on_sys(int signal_number, siginfo_t *info, void *context)
{
    ucontext_t *state = context;
    CHECK(signal_number == SIGSYS && info->si_code == 1 /* SYS_SECCOMP */);
    CHECK(info->si_errno == 99 && info->si_arch == AUDIT_ARCH_X86_64);
    trapped++;
    trapped_call = info->si_syscall;
    state->uc_mcontext.gregs[REG_RAX] = 4242;
}

static void filter(unsigned call, unsigned action)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog described = {.len = 4, .filter = program};
    CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &described) == 0);
}

int main(void)
{
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    struct sigaction action = {.sa_sigaction = on_sys, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGSYS, &action, NULL) == 0);
    unsigned trap = SECCOMP_RET_TRAP;
    if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &trap) == -1)
        SKIP("no seccomp filters");
    filter(SYS_getppid, SECCOMP_RET_ERRNO | EDOM);
    CHECK_FAILS(syscall(SYS_getppid), EDOM);
    CHECK(prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 2);
    filter(SYS_getpgid, SECCOMP_RET_TRAP | 99);
    for (int i = 0; i < 20; i++) {
        CHECK(syscall(SYS_getpgid, 0) == 4242);
        CHECK(trapped == i + 1 && trapped_call == SYS_getpgid);
    }
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_FAILS(syscall(SYS_getppid), EDOM); /* inherited */
        CHECK(syscall(SYS_getpgid, 0) == 4242);
        filter(SYS_getuid, SECCOMP_RET_ERRNO | 0);
        CHECK(syscall(SYS_getuid) == 0);
        filter(SYS_getsid, SECCOMP_RET_KILL_PROCESS);
        CHECK(prctl(PR_SET_DUMPABLE, 0) == 0);
        syscall(SYS_getsid, 0);
        _exit(1);
    }
    reap_killed(child, SIGSYS);
    filter(SYS_gettid, SECCOMP_RET_TRACE | 5); /* no tracer that wants it: ENOSYS */
    long tid = syscall(SYS_gettid);
    CHECK(tid == -1 ? errno == ENOSYS : tid == getpid());
    return success();
}
