/* The loop that bench/conditions.py puts its sites into, and a bare tracer of it.
 *
 *   conditions loop N          runs N times over `site`; prints nanoseconds, and those of
 *                              processor time
 *   conditions bare KIND N     the same, with a breakpoint that is rejected each time: wait,
 *                              get the registers, compare, set rip behind the jump, go on
 *   conditions step KIND N     the same with the instruction put back and single-stepped
 *   conditions debug KIND N    the same with a debug register
 * The tracers print the processor time that they took themselves, too.
 * KIND: reg1, reg16, mem1, mem8, mem8far. */
#define _GNU_SOURCE
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

uint64_t words[8]; /* all 0 */
uint64_t far_words[8 * 512]; /* each on a page of its own */

extern const char site[], behind[];

static uint64_t now(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* rcx counts; every other register holds its number, rsi and rdi point to the words. */
__attribute__((noinline)) static void loop(uint64_t n)
{
    __asm__ volatile(
        "push %%rbx\n push %%rbp\n"
        "mov %0, %%rcx\n lea words(%%rip), %%rsi\n lea far_words(%%rip), %%rdi\n"
        "mov $100, %%rax\n mov $101, %%rbx\n mov $102, %%rdx\n mov $103, %%rbp\n"
        "mov $108, %%r8\n mov $109, %%r9\n mov $110, %%r10\n mov $111, %%r11\n"
        "mov $112, %%r12\n mov $113, %%r13\n mov $114, %%r14\n mov $115, %%r15\n"
        ".balign 64\n"
        "1:\n .globl site\nsite: .byte 0xe9, 0, 0, 0, 0\n .globl behind\nbehind:\n"
        "sub $1, %%rcx\n jnz 1b\n"
        "pop %%rbp\n pop %%rbx\n"
        :
        : "r"(n)
        : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
          "memory", "cc");
}

static void run(uint64_t n)
{
    uint64_t start = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);

    loop(n);
    printf("%llu %llu\n", (unsigned long long)(now(CLOCK_MONOTONIC) - start),
           (unsigned long long)(now(CLOCK_PROCESS_CPUTIME_ID) - cpu));
    fflush(stdout);
}

static int accept(const char *kind, pid_t pid, const struct user_regs_struct *r)
{
    uint64_t got[8];

    if (strcmp(kind, "reg16") == 0)
        return r->rax == 100 && r->rdx == 102 && r->rbp == 103 && r->r8 == 108 && r->r9 == 109 &&
               r->r10 == 110 && r->r11 == 111 && r->r12 == 112 && r->r13 == 113 && r->r14 == 114 &&
               r->r15 == 115 && r->rsi == (uint64_t)words && r->rdi == (uint64_t)far_words &&
               r->rsp != 0 && r->rcx != 0 && r->rbx == 1;
    if (strncmp(kind, "mem", 3) == 0) {
        struct iovec local = {got, kind[3] == '1' ? 8 : 64}, remote[8];
        int count = 1;

        remote[0] = (struct iovec){words, local.iov_len};
        if (strcmp(kind, "mem8far") == 0)
            for (count = 0; count < 8; count++)
                remote[count] = (struct iovec){far_words + 512 * count, 8};
        if (process_vm_readv(pid, &local, 1, remote, (unsigned long)count, 0) != (ssize_t)local.iov_len)
            exit(1);
        for (unsigned i = 0; i + 1 < local.iov_len / 8; i++)
            if (got[i])
                return 0;
        return got[local.iov_len / 8 - 1] == 1;
    }
    return r->rbx == 1;
}

static void trace(const char *way, const char *kind, uint64_t n)
{
    int status, debug = strcmp(way, "debug") == 0, step = strcmp(way, "step") == 0;
    struct user_regs_struct r;
    uint64_t cpu;
    pid_t pid = fork();
    long original, patched;

    if (pid == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        run(n);
        exit(0);
    }
    waitpid(pid, &status, 0);
    original = ptrace(PTRACE_PEEKTEXT, pid, site, 0);
    patched = (original & ~0xffl) | 0xcc;
    if (debug) {
        ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[0]), site);
        ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[7]), 1);
    } else {
        ptrace(PTRACE_POKETEXT, pid, site, patched);
    }
    cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    for (;;) {
        ptrace(PTRACE_CONT, pid, 0, 0);
        if (waitpid(pid, &status, 0) < 0 || !WIFSTOPPED(status))
            break;
        ptrace(PTRACE_GETREGS, pid, 0, &r);
        if (r.rip != (uint64_t)site + !debug || accept(kind, pid, &r))
            exit(2);
        if (debug)
            continue;
        r.rip = step ? (uint64_t)site : (uint64_t)behind;
        ptrace(PTRACE_SETREGS, pid, 0, &r);
        if (step) {
            ptrace(PTRACE_POKETEXT, pid, site, original);
            ptrace(PTRACE_SINGLESTEP, pid, 0, 0);
            waitpid(pid, &status, 0);
            ptrace(PTRACE_POKETEXT, pid, site, patched);
        }
    }
    printf("%llu\n", (unsigned long long)(now(CLOCK_PROCESS_CPUTIME_ID) - cpu));
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "loop") == 0)
        run(strtoull(argv[2], NULL, 0));
    else if (argc == 4)
        trace(argv[1], argv[2], strtoull(argv[3], NULL, 0));
    else
        return 2;
    return 0;
}
