/* Loops in which hardly any place can be patched: MODE ROUNDS [ignore|block].
 *
 * Each instruction is short and jumped to (by code that is never executed), and the program takes all
 * addresses that a jump could reach, but for a hole that only a jump of five bytes of its own reaches.
 *
 *   good    one long instruction among short ones
 *   none    short ones only, and a repeated string instruction, so that rounds take long
 *   flags   pushf and popf; prints whether the trap flag was ever seen
 *   calls   short ones before a system call
 *   faults  short ones before a load that faults, and whose handler repairs it
 *
 * Two threads do it. Prints how many rounds there were, and what was seen of the trap flag, or faults. With
 * `ignore` or `block` SIGTRAP is ignored or blocked, and must still be so at the end. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

/* Displacements of a jump that end in d4 to d7: in none of the loops' bytes. */
#define HOLE_FROM 0x2c000000ul
#define HOLE_TO 0x28000000ul
#define REACH 0x81000000ul
#define BLOCK 65536

/* rdi: rounds. All labels are entered from where nothing comes by; and no padding is near, which could hold
 * a jump. */
#define LOOP(name, before, body)                                                                   \
    __asm__(".text\n.fill 160, 1, 0x50\n"                                                         \
            ".globl " #name ", " #name "_end\n.type " #name ", @function\n" #name ":\n"             \
            "push %rbx\nxor %ebx, %ebx\n" before                                                   \
            "0: inc %eax\n1: dec %r9d\n2: inc %eax\n" body                                         \
            "6: dec %r9d\n7: dec %rdi\n8: jnz 0b\n"                                                \
            "9: mov %rbx, %rax\n10: pop %rbx\n11: ret\n" #name "_end:\n"                           \
            "jmp 0b\njmp 1b\njmp 2b\njmp 3b\njmp 4b\njmp 5b\njmp 6b\njmp 7b\njmp 8b\njmp 9b\n"     \
            "jmp 10b\njmp 11b\n.fill 160, 1, 0x50\n"                                               \
            ".size " #name ", . - " #name "\n")

LOOP(good_loop, "",
     "3: inc %eax\n4: dec %r9d\n"
     ".globl good_place\ngood_place: 90: lea 0x11111111(%rax), %rdx\n"
     "5: inc %eax\n91: jmp 98f\njmp 90b\njmp 91b\n98: inc %eax\n");
/* rsi, rdx, rcx: what is copied, to where, how much. rbx: the rounds while it is copied */
LOOP(none_loop, "mov %rsi, %r8\nmov %rdx, %r10\nmov %rcx, %r11\n",
     "3: mov %edi, %ebx\n4: mov %r8, %rsi\n5: mov %r10, %rdi\n"
     "90: mov %r11, %rcx\n91: rep movsb\n92: mov %ebx, %edi\n"
     "93: jmp 98f\njmp 90b\njmp 91b\njmp 92b\njmp 93b\n98: inc %eax\n");
/* rbx: all flags that were seen */
LOOP(flags_loop, "",
     "3: pushf\n4: pop %rdx\n5: or %edx, %ebx\n90: push %rdx\n91: popf\n"
     "92: jmp 98f\njmp 90b\njmp 91b\njmp 92b\n98: inc %eax\n");
/* esi: the call */
LOOP(calls_loop, "mov %esi, %r8d\n", "3: mov %r8d, %eax\n4: syscall\n5: inc %eax\n");
/* rsi: what is read */
LOOP(faults_loop, "", "3: inc %eax\n4: dec %r9d\n5: mov (%rsi), %dl\n");

extern uint64_t good_loop(uint64_t), flags_loop(uint64_t), calls_loop(uint64_t, uint64_t);
extern uint64_t none_loop(uint64_t, const char *, char *, uint64_t);
extern uint64_t faults_loop(uint64_t, const char *);
extern const char good_place[];

#define TRAP_FLAG 0x100

static volatile sig_atomic_t faults, traps;
static char from[BLOCK], to[BLOCK], *guarded;

static void on_tick(int signo)
{
    (void)signo;
}

static void on_trap(int signo)
{
    (void)signo;
    traps++;
}

/* The next load goes to memory that is there. */
static void on_fault(int signo, siginfo_t *info, void *context)
{
    ucontext_t *c = context;

    (void)signo;
    (void)info;
    faults++;
    c->uc_mcontext.gregs[REG_RSI] = (greg_t)(uintptr_t)from;
}

/* Takes all that is free within reach of the code. */
static void take_everything(void)
{
    static struct { unsigned long start, end; } maps[256];
    static char text[65536];
    unsigned long code = (unsigned long)(uintptr_t)good_place & ~4095ul, at = code - REACH;
    FILE *file = fopen("/proc/self/maps", "r");
    size_t n = 0;

    while (file && n < 254 && fgets(text, sizeof text, file))
        if (sscanf(text, "%lx-%lx", &maps[n].start, &maps[n].end) == 2)
            n++;
    if (file)
        fclose(file);
    maps[n].start = code - HOLE_FROM;
    maps[n++].end = code - HOLE_TO;
    for (size_t i = 1; i < n; i++) /* in order */
        for (size_t j = i; j && maps[j].start < maps[j - 1].start; j--) {
            __typeof__(*maps) other = maps[j];

            maps[j] = maps[j - 1];
            maps[j - 1] = other;
        }
    for (size_t i = 0; i < n && at < code + REACH; i++) {
        unsigned long end = maps[i].start < code + REACH ? maps[i].start : code + REACH;

        if (at < end && mmap((void *)at, end - at, PROT_NONE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) !=
                            (void *)at) {
            perror("mmap");
            exit(2);
        }
        if (maps[i].end > at)
            at = maps[i].end;
    }
}

static uint64_t rounds(const char *mode, uint64_t n)
{
    if (!strcmp(mode, "good"))
        return good_loop(n) * 0;
    if (!strcmp(mode, "none"))
        return none_loop(n, from, to, BLOCK) * 0;
    if (!strcmp(mode, "flags"))
        return flags_loop(n) & TRAP_FLAG;
    if (!strcmp(mode, "calls"))
        return calls_loop(n, SYS_getppid) * 0;
    while (n--)
        faults_loop(1000, guarded);
    return 0;
}

struct job {
    const char *mode;
    uint64_t n, seen;
};

static void *run(void *arg)
{
    struct job *job = arg;

    job->seen = rounds(job->mode, job->n);
    return NULL;
}

int main(int argc, char **argv)
{
    struct job jobs[2] = {{argv[1], strtoull(argv[2], NULL, 10), 0}, {argv[1], strtoull(argv[2], NULL, 10), 0}};
    struct sigaction fault = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, now;
    struct itimerval often = {{0, 700}, {0, 700}}, never = {{0, 0}, {0, 0}};
    const char *trap = argc > 3 ? argv[3] : "";
    sigset_t set;
    pthread_t other;

    guarded = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    signal(SIGALRM, on_tick);
    signal(SIGTRAP, *trap == 'i' ? SIG_IGN : on_trap);
    sigaction(SIGSEGV, &fault, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGTRAP);
    if (*trap == 'b')
        sigprocmask(SIG_BLOCK, &set, NULL);
    take_everything();
    pthread_create(&other, NULL, run, &jobs[1]);
    setitimer(ITIMER_REAL, &often, NULL);
    run(&jobs[0]);
    setitimer(ITIMER_REAL, &never, NULL);
    pthread_join(other, NULL);
    printf("%lu %lu\n", (unsigned long)(jobs[0].n + jobs[1].n), 
           (unsigned long)(jobs[0].seen | jobs[1].seen) + (unsigned long)faults);
    sigaction(SIGTRAP, NULL, &now);
    raise(SIGTRAP);
    sigprocmask(SIG_SETMASK, NULL, &set);
    printf("%s %s %d\n", now.sa_handler == SIG_IGN ? "ignored" : "handled",
           sigismember(&set, SIGTRAP) ? "blocked" : "open", (int)traps);
    return 0;
}
