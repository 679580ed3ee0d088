/* Runs pieces of code with given registers and tells what became of them.
 *
 * stdin: jobs; stdout: an answer for each. All memory the code needs is at the
 * fixed addresses below. Code ends by a trap or a fault. */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define CODE 0x30000000ul
#define COUNTERS 0x30100000ul
#define RING 0x30200000ul /* head, tail, then at +4096 the records, twice */
#define RING_SIZE 4096ul
#define STACK 0x30400000ul
#define STACK_SIZE 8192ul
#define MEM1 0x20000ul
#define MEM2 0x6a0000000000ul
#define GS_BASE 0x123456789000ul
#define FILLER 0xa5

/* rax rcx rdx rbx rsp rbp rsi rdi r8..r15, flags, rip */
struct registers {
    uint64_t r[16], flags, rip;
};
struct job {
    uint64_t code_size, entry, new_memory;
    struct registers regs;
    uint64_t counters[8];
    uint64_t head, tail;
};
struct answer {
    uint64_t signal, stack_intact;
    struct registers regs;
    uint64_t counters[8];
    uint64_t head;
    uint8_t frame[2048]; /* below the stack pointer given */
    uint8_t records[RING_SIZE];
};
struct facts {
    uint64_t fs_base, gs_base, es, cs, ss, ds, fs, gs;
};

static struct answer answer;
struct registers go_registers;
uint64_t go_target, go_rsp;
void go(void);
extern char go_back[];

__asm__(".text\n.globl go\n.globl go_back\n"
        "go: push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "mov %rsp, go_rsp(%rip)\n"
        "lea go_registers(%rip), %rax\n"
        "push 128(%rax); popfq\n"
        "mov 8(%rax), %rcx; mov 16(%rax), %rdx; mov 24(%rax), %rbx; mov 32(%rax), %rsp\n"
        "mov 40(%rax), %rbp; mov 48(%rax), %rsi; mov 56(%rax), %rdi; mov 64(%rax), %r8\n"
        "mov 72(%rax), %r9; mov 80(%rax), %r10; mov 88(%rax), %r11; mov 96(%rax), %r12\n"
        "mov 104(%rax), %r13; mov 112(%rax), %r14; mov 120(%rax), %r15; mov (%rax), %rax\n"
        "jmp *go_target(%rip)\n"
        "go_back: mov go_rsp(%rip), %rsp\n"
        "cld\n"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n");

static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                              REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                              REG_R12, REG_R13, REG_R14, REG_R15};

static void ended(int sig, siginfo_t *info, void *context)
{
    greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;

    (void)info;
    answer.signal = (uint64_t)sig;
    for (int i = 0; i < 16; i++)
        answer.regs.r[i] = (uint64_t)g[order[i]];
    answer.regs.flags = (uint64_t)g[REG_EFL];
    answer.regs.rip = (uint64_t)g[REG_RIP];
    g[REG_RIP] = (greg_t)go_back;
    g[REG_EFL] &= ~0x400;
}

static void *map(uint64_t at, size_t size, int prot, int fd)
{
    int flags = MAP_FIXED_NOREPLACE | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
    void *p = mmap((void *)at, size, prot, flags, fd, 0);

    if (p != (void *)at) {
        perror("mmap");
        exit(1);
    }
    return p;
}

static void all(int out, void *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = out ? write(1, (char *)data + done, size - done)
                        : read(0, (char *)data + done, size - done);

        if (n <= 0)
            exit(done || out ? 1 : 0);
        done += (size_t)n;
    }
}

int main(void)
{
    static char altstack[65536];
    stack_t ss = {.ss_sp = altstack, .ss_size = sizeof altstack};
    struct sigaction sa = {.sa_sigaction = ended, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    uint8_t *code = map(CODE, 65536, PROT_READ | PROT_WRITE | PROT_EXEC, -1);
    uint8_t *stack = map(STACK, STACK_SIZE, PROT_READ | PROT_WRITE, -1);
    uint8_t *mem1 = map(MEM1, 4096, PROT_READ | PROT_WRITE, -1);
    uint8_t *mem2 = map(MEM2, 4096, PROT_READ | PROT_WRITE, -1);
    uint64_t *counters = map(COUNTERS, 4096, PROT_READ | PROT_WRITE, -1);
    uint64_t *ring = map(RING, 4096, PROT_READ | PROT_WRITE, -1);
    int fd = memfd_create("ring", 0);
    uint8_t *records;
    struct facts facts = {.gs_base = GS_BASE};
    struct job job;

    if (fd < 0 || ftruncate(fd, RING_SIZE))
        return 1;
    records = map(RING + 4096, RING_SIZE, PROT_READ | PROT_WRITE, fd);
    map(RING + 4096 + RING_SIZE, RING_SIZE, PROT_READ | PROT_WRITE, fd);
    sigaltstack(&ss, NULL);
    sigaction(SIGTRAP, &sa, NULL);
    sigaction(SIGSEGV, &sa, NULL);
    sigaction(SIGBUS, &sa, NULL);
    sigaction(SIGFPE, &sa, NULL);
    sigaction(SIGILL, &sa, NULL);
    syscall(SYS_arch_prctl, ARCH_SET_GS, GS_BASE);
    syscall(SYS_arch_prctl, ARCH_GET_FS, &facts.fs_base);
    __asm__ volatile("mov %%es, %0" : "=r"(facts.es));
    __asm__ volatile("mov %%cs, %0" : "=r"(facts.cs));
    __asm__ volatile("mov %%ss, %0" : "=r"(facts.ss));
    __asm__ volatile("mov %%ds, %0" : "=r"(facts.ds));
    __asm__ volatile("mov %%fs, %0" : "=r"(facts.fs));
    __asm__ volatile("mov %%gs, %0" : "=r"(facts.gs));
    all(1, &facts, sizeof facts);
    for (;;) {
        uint64_t rsp;
        size_t above;

        all(0, &job, sizeof job);
        if (job.code_size > 60000)
            return 1;
        memset(code, 0xcc, job.code_size + 64);
        all(0, code, job.code_size);
        if (job.new_memory) {
            all(0, mem1, 4096);
            all(0, mem2, 4096);
        }
        memset(stack, FILLER, STACK_SIZE);
        memcpy(counters, job.counters, sizeof job.counters);
        memset(records, 0, RING_SIZE);
        ring[0] = job.head;
        ring[8] = job.tail;
        go_registers = job.regs;
        go_target = CODE + job.entry;
        go();
        memcpy(answer.counters, counters, sizeof answer.counters);
        answer.head = ring[0];
        memcpy(answer.records, records, RING_SIZE);
        rsp = job.regs.r[4] - STACK;
        memcpy(answer.frame, stack + rsp - sizeof answer.frame, sizeof answer.frame);
        above = rsp - 128;
        answer.stack_intact = 1;
        for (size_t i = above; i < STACK_SIZE; i++)
            answer.stack_intact &= stack[i] == FILLER;
        all(1, &answer, sizeof answer);
    }
}
