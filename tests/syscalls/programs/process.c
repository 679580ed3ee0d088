/* Identity, limits, waiting, signals, scheduling, security, prctl. */
#include "common.h"

#include <linux/capability.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <asm/prctl.h>

static void handler(int sig, siginfo_t *info, void *context)
{
    (void)sig, (void)info, (void)context;
}

static int child(int status)
{
    int pid = (int)CALL(fork);
    if (pid == 0)
        CALL(exit_group, status);
    return pid;
}

static void waiting(void)
{
    child(1);
    CALL(wait4, -1, room(16), 0, room(200));
    CALL(wait4, -1, room(16), 0, room(200)); /* ECHILD */
    child(2);
    CALL(waitid, P_ALL, 0, room(200), WEXITED, room(200));
    CALL(waitid, P_ALL, 0, room(200), WEXITED, room(200)); /* ECHILD: zeros are written */
    int pid = (int)CALL(fork);
    if (pid == 0) {
        CALL(pause);
        CALL(exit, 0);
    }
    CALL(wait4, -1, room(16), WNOHANG, room(200));
    CALL(waitid, P_PID, pid, room(200), WEXITED | WNOHANG, room(200));
    int pidfd = (int)CALL(pidfd_open, pid, 0);
    CALL(pidfd_getfd, pidfd, 1, 0);
    uint64_t info[8] = {0xffff};
    CALL(ioctl, pidfd, 0xc040ff0b, with(info, 64));
    CALL(pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    CALL(waitid, 3 /* P_PIDFD */, pidfd, room(200), WEXITED, NULL);
    pid = (int)CALL(vfork);
    if (pid == 0)
        CALL(exit_group, 0);
    CALL(wait4, pid, room(16), 0, NULL);
    pid = (int)CALL(clone, SIGCHLD | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID, NULL, room(16),
                    room(16), 0);
    if (pid == 0)
        CALL(exit, 0);
    CALL(wait4, pid, NULL, 0, NULL);
    uint64_t args[11] = {0x1000 /* PIDFD */ | 0x100000, (uintptr_t)room(16), 0,
                         (uintptr_t)room(16), SIGCHLD};
    pid = (int)CALL(clone3, args, 64);
    if (pid == 0)
        CALL(exit_group, 0);
    CALL(wait4, pid, NULL, 0, NULL);
}

static void identity(void)
{
    CALL(getpid), CALL(gettid), CALL(getppid), CALL(getuid), CALL(getgid), CALL(geteuid);
    CALL(getegid), CALL(getpgrp), CALL(getpgid, 0), CALL(getsid, 0);
    CALL(getresuid, room(16), room(16), room(16));
    CALL(getresgid, room(16), room(16), room(16));
    CALL(getgroups, 0, room(64));
    CALL(getgroups, 200, room(800));
    CALL(setuid, getuid()), CALL(setgid, getgid());
    CALL(setreuid, -1, -1), CALL(setregid, -1, -1);
    CALL(setresuid, -1, -1, -1), CALL(setresgid, -1, -1, -1);
    CALL(setfsuid, -1), CALL(setfsgid, -1);
    CALL(setpgid, 0, 0), CALL(setsid);
    CALL(personality, 0xffffffff);
    struct __user_cap_header_struct cap = {_LINUX_CAPABILITY_VERSION_3, 0};
    void *data = room(64);
    CALL(capget, with(&cap, sizeof cap), data);
    CALL(capset, with(&cap, sizeof cap), data);
    cap.version = 1;
    CALL(capget, with(&cap, sizeof cap), NULL);
    cap.version = _LINUX_CAPABILITY_VERSION_1;
    CALL(capget, with(&cap, sizeof cap), room(64));
}

static void limits(void)
{
    CALL(getrlimit, RLIMIT_NOFILE, room(64));
    struct rlimit no_core = {0, 0};
    CALL(setrlimit, RLIMIT_CORE, &no_core);
    CALL(prlimit64, 0, RLIMIT_CORE, &no_core, room(64));
    CALL(getrusage, RUSAGE_SELF, room(200));
    CALL(getpriority, PRIO_PROCESS, 0);
    CALL(setpriority, PRIO_PROCESS, 0, 0);
    CALL(ioprio_get, 1, 0);
    CALL(kcmp, getpid(), getpid(), 0, 0, 1);
    CALL(get_robust_list, 0, room(16), room(16));
    CALL(set_tid_address, room(16));
    CALL(uname, room(500));
    CALL(sysinfo, room(200));
    CALL(getrandom, room(64), 40, 0);
    CALL(getcpu, room(16), room(16), NULL);
    CALL(sched_getparam, 0, room(16));
    CALL(sched_setparam, 0, &(int){0});
    CALL(sched_getscheduler, 0);
    CALL(sched_setscheduler, 0, 0, &(int){0});
    CALL(sched_get_priority_max, 1);
    CALL(sched_get_priority_min, 1);
    CALL(sched_rr_get_interval, 0, room(64));
    CALL(sched_getaffinity, 0, 128, room(200));
    CALL(sched_setaffinity, 0, 8, &(uint64_t){~0ull});
    CALL(sched_getattr, 0, room(100), 56, 0);
    CALL(sched_getattr, 0, room(100), 80, 0);
    uint32_t attr[30] = {48};
    CALL(sched_setattr, 0, with(attr, sizeof attr), 0);
    attr[0] = 100;
    memset(attr + 12, 1, 60);
    CALL(sched_setattr, 0, with(attr, sizeof attr), 0); /* E2BIG */
    CALL(sched_yield);
    CALL(seccomp, 2, 0, &(uint32_t){0x7fff0000});
    CALL(seccomp, 3, 0, room(64));
    CALL(landlock_create_ruleset, NULL, 0, 1);
    uint32_t *size = room(64);
    *size = 64;
    CALL(lsm_list_modules, room(128), size, 0);
    size = room(64);
    *size = 1;
    CALL(lsm_list_modules, room(128), size, 0);
    size = room(64);
    *size = 500;
    CALL(lsm_get_self_attr, 100, room(600), size, 0);
    CALL(syslog, 10, room(16), 0);
    CALL(syslog, 3, room(1000), 1000);
    CALL(unshare, 0);
    CALL(membarrier, 0, 0, 0);
    CALL(rseq, room(64), 32, 0, 0);
    CALL(io_uring_setup, 1, room(200));
    CALL(bpf, 0, room(64), 64);
    CALL(ptrace, 0, 0, 0, 0);
    CALL(keyctl, 0, -3, 0);
    CALL(keyctl, 6, -3, room(200), 200);
    CALL(add_key, "user", "relive-oracle", "x", 1, -2);
    CALL(request_key, "user", "relive-oracle", NULL, -2);
}

static void options(void)
{
    CALL(prctl, PR_SET_NAME, "a name");
    CALL(prctl, PR_GET_NAME, room(64));
    CALL(prctl, PR_SET_PDEATHSIG, 0);
    CALL(prctl, PR_GET_PDEATHSIG, room(64));
    CALL(prctl, PR_SET_CHILD_SUBREAPER, 0);
    CALL(prctl, PR_GET_CHILD_SUBREAPER, room(64));
    CALL(prctl, PR_GET_TID_ADDRESS, room(64));
    CALL(prctl, PR_GET_TSC, room(64));
    CALL(prctl, PR_GET_DUMPABLE);
    CALL(prctl, PR_GET_KEEPCAPS);
    CALL(prctl, PR_GET_SECCOMP);
    CALL(prctl, PR_CAPBSET_READ, 0);
    CALL(prctl, PR_GET_TIMERSLACK);
    CALL(prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    CALL(prctl, PR_GET_THP_DISABLE, 0, 0, 0, 0);
    CALL(prctl, PR_GET_SPECULATION_CTRL, 0, 0, 0, 0);
    CALL(prctl, 0x41555856, room(400), 16, 0, 0);
    CALL(prctl, 0x41555856, room(400), 400, 0, 0);
    CALL(prctl, 12345, 0, 0, 0, 0);
    CALL(arch_prctl, ARCH_GET_FS, room(64));
    CALL(arch_prctl, ARCH_GET_GS, room(64));
    CALL(arch_prctl, 0x1021, room(64));
    CALL(arch_prctl, 0x1022, room(64));
    CALL(arch_prctl, 0x4001, room(64));
    CALL(arch_prctl, 0x3001, room(64));
}

static void signals(void)
{
    struct { void *handler; uint64_t flags; void *restorer; uint64_t mask; } old;
    CALL(rt_sigaction, SIGUSR1, NULL, room(64), 8);
    struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &sa, NULL);
    sigaction(SIGALRM, &sa, NULL);
    CALL(rt_sigaction, SIGUSR1, NULL, &old, 8);
    uint64_t usr1 = 1ull << (SIGUSR1 - 1), none = 0;
    CALL(rt_sigprocmask, SIG_BLOCK, &usr1, room(64), 8);
    CALL(kill, getpid(), SIGUSR1);
    CALL(rt_sigpending, room(64), 8);
    uint64_t zero[2] = {0, 1000000};
    CALL(rt_sigtimedwait, &usr1, room(200), zero, 8);
    CALL(rt_sigtimedwait, &usr1, room(200), zero, 8); /* EAGAIN */
    siginfo_t info = {.si_signo = SIGUSR1, .si_code = SI_QUEUE};
    CALL(rt_sigqueueinfo, getpid(), SIGUSR1, &info);
    int s = (int)CALL(signalfd4, -1, &usr1, 8, 0);
    CALL(read, s, room(200), 128);
    CALL(rt_tgsigqueueinfo, getpid(), gettid(), SIGUSR1, &info);
    CALL(rt_sigsuspend, &none, 8);
    CALL(signalfd, -1, &usr1, 8);
    CALL(rt_sigprocmask, SIG_UNBLOCK, &usr1, NULL, 8);
    CALL(tkill, gettid(), SIGUSR1);
    CALL(tgkill, getpid(), gettid(), SIGUSR1);
    stack_t stack = {.ss_sp = malloc(1 << 16), .ss_size = 1 << 16};
    CALL(sigaltstack, NULL, room(64));
    CALL(sigaltstack, &stack, room(64));
}

int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    identity();
    limits();
    options();
    signals();
    waiting();
    return 0;
}
