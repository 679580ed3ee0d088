/* Every kind of instruction that can't simply be copied, each at a label; what they do is
 * checked here. Prints a line a round: what was wrong, 0 if nothing. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#define LABEL(name) ".globl " #name "\n.type " #name ", @function\n" #name ": "
#define BEGIN(name) __asm__(".text\n.p2align 4\n" LABEL(name) "\n"
#define END(name) "\n.size " #name ", .-" #name "\n");

uint64_t memory[16] = {11, 22, 33};
extern char at_syscall[], after_syscall[], after_call[], after_call_reg[], after_call_mem[],
    faulting[], fault_end[], stray_target[];

BEGIN(do_call) LABEL(at_call) "call returns_address\n.globl after_call\nafter_call: ret" END(do_call)
BEGIN(do_call_reg) "lea returns_address(%rip), %rax\n" LABEL(at_call_reg)
    "call *%rax\n.globl after_call_reg\nafter_call_reg: nop; ret" END(do_call_reg)
BEGIN(do_call_mem) "lea returns_address(%rip), %rax; push %rax; push %rax; push %rax\n"
    LABEL(at_call_mem) "call *8(%rsp)\n.globl after_call_mem\nafter_call_mem: lea 24(%rsp), %rsp; ret"
    END(do_call_mem)
BEGIN(returns_address) "mov (%rsp), %rax\n" LABEL(at_ret) "ret" END(returns_address)
BEGIN(do_ret_imm) "pop %rcx; push %rdi; push %rcx\n" LABEL(at_ret_imm) "ret $8" END(do_ret_imm)
BEGIN(do_syscall) "mov $39, %eax\n" LABEL(at_syscall)
    "syscall\n.globl after_syscall\nafter_syscall: mov %rax, (%rdi); mov %rcx, %rax; ret"
    END(do_syscall)
BEGIN(do_rep) "mov %rdx, %rcx\n" LABEL(at_rep) "rep movsb\n mov %rcx, %rax; ret" END(do_rep)
BEGIN(do_loop) "mov %rdi, %rcx; xor %eax, %eax\n1: inc %eax\n" LABEL(at_loop) "loop 1b\n ret" END(do_loop)
BEGIN(do_loop_self) "mov %rdi, %rcx\n" LABEL(at_loop_self) "loop at_loop_self\n mov %rcx, %rax; ret"
    END(do_loop_self)
BEGIN(do_jrcxz) "mov %rdi, %rcx\n" LABEL(at_jrcxz) "jrcxz 1f\n mov $1, %eax; ret\n1: mov $2, %eax; ret"
    END(do_jrcxz)
BEGIN(do_tight) "xor %eax, %eax\n" LABEL(at_tight) "1: inc %eax; dec %rdi; jnz 1b\n ret" END(do_tight)
BEGIN(do_endbr) LABEL(at_endbr) "endbr64; mov %edi, %eax; ret" END(do_endbr)
BEGIN(do_rip) LABEL(at_rip) "lea memory+8(%rip), %rax; mov (%rax), %rax\n" LABEL(at_rip2)
    "add memory+16(%rip), %rax; ret" END(do_rip)
/* past the lock prefix when edi is 0 */
BEGIN(do_lock) "mov $5, %eax; test %edi, %edi; je 1f\n" LABEL(at_lock)
    "lock\n1: xadd %rax, memory+40(%rip)\n ret" END(do_lock)
BEGIN(do_flags) "cmp %rdi, %rsi\n" LABEL(at_pushf) "pushf; pop %rax\n" LABEL(at_popf)
    "push %rax; popf; pushf; pop %rdx; xor %rdx, %rax; ret" END(do_flags)
/* a computed jump to the second of two short instructions */
BEGIN(do_stray) "lea stray_target(%rip), %rax; test %edi, %edi; cmovnz %rsi, %rax; jmp *%rax\n"
    ".globl stray_first, stray_target\n.type stray_first, @function\n"
    "stray_first: mov %edi, %eax\nstray_target: lea 1(%rdi), %rdi; mov %rdi, %rax; ret" END(do_stray)
BEGIN(do_fault) "mov $7, %eax\n" LABEL(faulting) "mov (%rdi), %rax\nfault_end: ret" END(do_fault)
BEGIN(do_enter) LABEL(at_enter) "push %rbp; mov %rsp, %rbp; push %rdi; mov -8(%rbp), %rax\n" LABEL(at_leave)
    "leave; ret" END(do_enter)

uint64_t do_call(void), do_call_reg(void), do_call_mem(void), do_ret_imm(uint64_t);
uint64_t do_syscall(uint64_t *), do_rep(char *, const char *, uint64_t), do_loop(uint64_t);
uint64_t do_loop_self(uint64_t), do_jrcxz(uint64_t), do_tight(uint64_t), do_endbr(uint64_t);
uint64_t do_rip(void), do_lock(uint64_t), do_flags(uint64_t, uint64_t), do_enter(uint64_t);
uint64_t do_stray(uint64_t, void *), do_fault(void *);
extern char stray_first[];

static volatile uint64_t fault_rip, faults, alarms;

static void on_fault(int sig, siginfo_t *info, void *context)
{
    greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;

    (void)sig;
    (void)info;
    fault_rip = (uint64_t)g[REG_RIP];
    faults++;
    g[REG_RIP] = (greg_t)fault_end;
    g[REG_RAX] = 99;
}

static void on_alarm(int sig)
{
    (void)sig;
    alarms++;
}

static jmp_buf buffer;

static int jumps(void)
{
    volatile int n = 0;

    if (setjmp(buffer) < 3)
        longjmp(buffer, ++n);
    return n;
}

static int wrong(int n)
{
    int bad = 0, line = 0, fds[2];
    char to[40] = "", c;
    uint64_t pid = 0;
    struct itimerval once = {{0, 0}, {0, 2000}};

#define CHECK(what) (line++, (what) ? 0 : (bad = bad ? bad : line))
    CHECK(do_call() == (uint64_t)after_call);
    CHECK(do_call_reg() == (uint64_t)after_call_reg);
    CHECK(do_call_mem() == (uint64_t)after_call_mem);
    do_ret_imm(5);
    CHECK(do_syscall(&pid) == (uint64_t)after_syscall);
    CHECK(pid == (uint64_t)getpid());
    CHECK(do_rep(to, "some bytes that are copied", 27) == 0);
    CHECK(!strcmp(to, "some bytes that are copied"));
    CHECK(do_loop(9) == 9);
    CHECK(do_loop_self(9) == 0);
    CHECK(do_jrcxz(0) == 2 && do_jrcxz(1) == 1);
    CHECK(do_tight(17) == 17);
    CHECK(do_endbr((uint64_t)n) == (uint64_t)n);
    CHECK(do_rip() == 55);
    memory[5] = 100;
    CHECK(do_lock(0) == 100 && do_lock(1) == 105 && memory[5] == 110);
    CHECK(do_flags(3, 4) == 0 && do_flags(4, 4) == 0 && do_flags(5, 4) == 0);
    CHECK(do_stray(0, NULL) == 1 && do_stray(6, stray_first) == 7 && do_stray(6, stray_target) == 7);
    CHECK(do_enter(123) == 123);
    CHECK(do_fault(&memory[1]) == 22);
    faults = 0;
    CHECK(do_fault(NULL) == 99 && faults == 1);
    CHECK(fault_rip == (uint64_t)faulting);
    CHECK(do_fault((void *)0xdead00000000beef) == 99 && faults == 2);
    CHECK(jumps() == 3);
    /* a call that a signal interrupts and the kernel restarts */
    CHECK(!pipe(fds));
    alarms = 0;
    setitimer(ITIMER_REAL, &once, NULL);
    if (!fork()) {
        usleep(5000);
        _exit(write(fds[1], "x", 1) != 1);
    }
    CHECK(read(fds[0], &c, 1) == 1 && c == 'x' && alarms == 1);
    close(fds[0]);
    close(fds[1]);
    return bad;
}

int main(int argc, char **argv)
{
    struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    int rounds = argc > 1 ? atoi(argv[1]) : 1;

    sigaction(SIGSEGV, &sa, NULL);
    sigaction(SIGBUS, &sa, NULL);
    sa.sa_sigaction = NULL;
    sa.sa_handler = on_alarm;
    sa.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &sa, NULL);
    signal(SIGCHLD, SIG_IGN);
    for (int n = 0; n < rounds; n++) {
        int bad = wrong(n);

        printf("%d\n", bad);
    }
    return 0;
}
