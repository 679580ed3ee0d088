/* What a rejected hit costs with nothing but the kernel in the way: a perf breakpoint (or a
 * uprobe) with a BPF program written by hand for one condition, constants in its instructions.
 *
 *     bare_breakpoint breakpoint|uprobe|count reg1|reg16|mem1|mem8 HITS
 *
 * prints nanoseconds a hit, processor time of the child that runs over the site. The condition is
 * false at every hit, and only its last comparison says so.
 *
 *     bare_breakpoint target - HITS
 *
 * is the same child for another tracer: it prints the addresses of site, branch and words, waits for
 * a byte on its standard input, runs, and prints nanoseconds a hit. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* loop(n, word): rbx counts from 0 to n - 1, also in the word. */
void loop(uint64_t n, volatile uint64_t *word);
extern char site[], branch[];
__asm__(".text\n"
        ".globl loop\n"
        ".type loop, @function\n"
        "loop: push %rbx\n"
        "xor %ebx, %ebx\n"
        ".globl site\n"
        "site: add $1, %rbx\n"
        "nopl 0(%rax)\n"
        "mov %rbx, (%rsi)\n"
        "cmp %rdi, %rbx\n"
        ".globl branch\n"
        "branch: jb site\n"
        "pop %rbx\n"
        "ret\n");

static struct {
    volatile uint64_t words[16];
    uint64_t nanoseconds;
} *shared;

static struct bpf_insn code[512];
static int length;

static void put(uint8_t op, uint8_t dst, uint8_t src, int16_t off, int32_t imm)
{
    code[length++] =
        (struct bpf_insn){.code = op, .dst_reg = dst, .src_reg = src, .off = off, .imm = imm};
}

static void put_constant(uint8_t dst, uint64_t value)
{
    put(BPF_LD | BPF_DW | BPF_IMM, dst, 0, 0, (int32_t)value);
    put(0, 0, 0, 0, (int32_t)(value >> 32));
}

/* if r2 != value, return 0 */
static void put_compare(uint64_t value)
{
    put_constant(3, value);
    put(BPF_JMP | BPF_JEQ | BPF_X, 2, 3, 2, 0);
    put(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0);
    put(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static void put_register(int index, uint64_t value)
{
    put(BPF_LDX | BPF_MEM | BPF_DW, 2, 6, (int16_t)(8 * index), 0);
    put_compare(value);
}

static void put_word(const volatile uint64_t *address, uint64_t value)
{
    put(BPF_ALU64 | BPF_MOV | BPF_X, 1, BPF_REG_10, 0, 0);
    put(BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 0, -8);
    put(BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, 8);
    put_constant(3, (uint64_t)(uintptr_t)address);
    put(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_probe_read_user);
    put(BPF_LDX | BPF_MEM | BPF_DW, 2, BPF_REG_10, -8, 0);
    put_compare(value);
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int load(int type)
{
    union bpf_attr attr = {.prog_type = (uint32_t)type,
                           .insns = (uint64_t)(uintptr_t)code,
                           .insn_cnt = (uint32_t)length,
                           .license = (uint64_t)(uintptr_t) "GPL"};
    long fd = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof attr);

    if (fd < 0)
        fail("BPF_PROG_LOAD");
    return (int)fd;
}

static int event(struct perf_event_attr *attr, pid_t pid)
{
    long fd = syscall(SYS_perf_event_open, attr, pid, -1, -1, PERF_FLAG_FD_CLOEXEC);

    if (fd < 0)
        fail("perf_event_open");
    return (int)fd;
}

static struct perf_event_attr breakpoint_attr(uint64_t period)
{
    struct perf_event_attr attr = {.size = sizeof attr,
                                   .type = PERF_TYPE_BREAKPOINT,
                                   .bp_type = HW_BREAKPOINT_X,
                                   .bp_addr = (uint64_t)(uintptr_t)site,
                                   .bp_len = 8,
                                   .sample_period = period,
                                   .exclude_kernel = 1,
                                   .exclude_hv = 1,
                                   .sigtrap = 1,
                                   .remove_on_exec = 1};
    return attr;
}

static struct perf_event_attr uprobe_attr(char path[static 4096])
{
    struct perf_event_attr attr = {.size = sizeof attr, .sample_period = 1};
    FILE *type = fopen("/sys/bus/event_source/devices/uprobe/type", "r");
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned long start, end, offset, at = (unsigned long)branch;
    char line[5000];

    if (!type || !maps || fscanf(type, "%u", &attr.type) != 1)
        fail("uprobe");
    while (!attr.config1 && fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%lx %*s %lx %*s %*s %4095s", &start, &end, &offset, path) == 4 &&
            start <= at && at < end) {
            attr.config1 = (uint64_t)(uintptr_t)path;
            attr.config2 = at - start + offset;
        }
    fclose(type);
    fclose(maps);
    return attr;
}

static uint64_t now(void)
{
    struct timespec t;

    /* Includes the kernel's work for this process, not what others do on the core. */
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void work(uint64_t hits)
{
    uint64_t start;

    loop(1, &shared->words[15]); /* where the tracer looks at the registers */
    start = now();
    loop(hits, &shared->words[15]);
    shared->nanoseconds = now() - start;
}

static void touch(void)
{
    for (int i = 0; i < 16; i++)
        shared->words[i] += 0; /* present, so that the kernel can read it */
}

static int target(uint64_t hits)
{
    touch();
    printf("%p %p %p\n", (void *)site, (void *)branch, (void *)shared->words);
    fflush(stdout);
    if (getchar() == EOF)
        return 1;
    work(hits);
    printf("%.1f\n", (double)shared->nanoseconds / (double)hits);
    return 0;
}

static void child(uint64_t hits)
{
    touch();
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    work(hits);
    _exit(0);
}

static void wait_stop(pid_t pid, int signo)
{
    int status;

    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) || WSTOPSIG(status) != signo) {
        fprintf(stderr, "unexpected status %#x\n", status);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    static const int order[] = {0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 19, 5};
    struct user_regs_struct regs;
    struct perf_event_attr attr;
    char path[4096];
    uint64_t hits;
    int fd, status, uprobe, count;
    cpu_set_t core;
    pid_t pid;

    if (argc != 4)
        return 2;
    uprobe = !strcmp(argv[1], "uprobe");
    count = !strcmp(argv[1], "count");
    hits = strtoull(argv[3], NULL, 10);
    sched_getaffinity(0, sizeof core, &core);
    for (int i = 0, found = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &core) && found++)
            CPU_CLR(i, &core);
    }
    sched_setaffinity(0, sizeof core, &core);
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        fail("mmap");
    if (!strcmp(argv[1], "target"))
        return target(hits);
    pid = fork();
    if (pid < 0)
        fail("fork");
    if (!pid)
        child(hits);
    wait_stop(pid, SIGSTOP);

    /* The registers at the site. */
    attr = breakpoint_attr(1);
    fd = event(&attr, pid);
    ptrace(PTRACE_CONT, pid, NULL, NULL);
    wait_stop(pid, SIGTRAP);
    ptrace(PTRACE_GETREGS, pid, NULL, &regs);
    close(fd);
    regs.rdi = hits;
    if (uprobe)
        regs.rbx = 0;

    put(BPF_ALU64 | BPF_MOV | BPF_X, 6, 1, 0, 0);
    if (!strcmp(argv[2], "reg16"))
        for (int i = 0; i < 15; i++)
            put_register(order[i], ((unsigned long long *)&regs)[order[i]]);
    if (!strncmp(argv[2], "reg", 3))
        put_register(5, ~4ull); /* rbx, never */
    if (!strcmp(argv[2], "mem8"))
        for (int i = 0; i < 7; i++)
            put_word(&shared->words[i], 0);
    if (!strncmp(argv[2], "mem", 3))
        put_word(&shared->words[7], 1);
    put(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1);
    put(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);

    attr = uprobe ? uprobe_attr(path) : breakpoint_attr(count ? 1ull << 62 : 1);
    fd = event(&attr, pid);
    if (!count) {
        int program = load(uprobe ? BPF_PROG_TYPE_KPROBE : BPF_PROG_TYPE_PERF_EVENT);

        if (ioctl(fd, PERF_EVENT_IOC_SET_BPF, program))
            fail("PERF_EVENT_IOC_SET_BPF");
    }
    ptrace(PTRACE_CONT, pid, NULL, NULL);
    if (waitpid(pid, &status, 0) != pid || status) {
        fprintf(stderr, "unexpected status %#x\n", status);
        return 1;
    }
    printf("%.1f\n", (double)shared->nanoseconds / (double)hits);
    return 0;
}
