/* Loops of slow instructions, interrupted after some fifty microseconds each time: few enough executions
 * for the slowest evaluator. The first argument says which loop, the second how many landings. */
#include "../../asynchronous/programs/landing.h"
#include <sys/mman.h>
#include <sys/syscall.h>

#define SLOW                                                                                       \
    "movl $7, %%ecx\n xorl %%edx, %%edx\n movl $99, %%eax\n divl %%ecx\n xorl %%edx, %%edx\n"       \
    "addl $98, %%eax\n divl %%ecx\n xorl %%edx, %%edx\n addl $97, %%eax\n divl %%ecx\n"             \
    "xorl %%edx, %%edx\n addl $96, %%eax\n divl %%ecx\n xorl %%edx, %%edx\n addl $95, %%eax\n"      \
    "divl %%ecx\n"
#define CLOBBERED "rax", "rcx", "rdx", "cc", "memory"

static volatile uint64_t counter;
static char from[512], to[512];

static void soon(long us)
{
    struct itimerval once = {{0, 0}, {0, us}};

    setitimer(ITIMER_REAL, &once, NULL);
}

/* Where the machine is so busy that the time is over before the handler is, the loop gets nowhere: more
 * time then. */
static void again(int signo, siginfo_t *info, void *context)
{
    static gregset_t last;
    static long us = 50;
    const gregset_t *now = &((const ucontext_t *)context)->uc_mcontext.gregs;
    const size_t compared = (REG_RIP + 1) * sizeof last[0];

    us = memcmp(last, *now, compared) ? 50 : us < 10000 ? 2 * us : us;
    memcpy(last, *now, compared);
    on_landing(signo, info, context);
    soon(us);
}

static void registers(void)
{
    uint64_t n = 0;

    while (!enough())
        __asm__ volatile(SLOW "incq %0" : "+r"(n) : : CLOBBERED);
    mix(n);
}

static void memory(void)
{
    while (!enough())
        __asm__ volatile(SLOW "incq %0" : "+m"(counter) : : CLOBBERED);
    mix(counter);
}

static void vector(void)
{
    __asm__ volatile("pxor %%xmm5, %%xmm5\n pcmpeqd %%xmm6, %%xmm6" : : : "xmm5", "xmm6");
    while (!enough()) /* (gcc keeps its hands off these) */
        __asm__ volatile(SLOW "psubq %%xmm6, %%xmm5" : : : CLOBBERED);
    __asm__ volatile("movq %%xmm5, %0" : "=m"(counter));
    mix(counter);
}

/* A loop that is left in two ways and come back to, and does not touch rcx, which has a value. */
#define DIVIDE "movl $99, %%eax\n xorl %%edx, %%edx\n divl %%r8d\n"
static void leaving(void)
{
    uint64_t n = 0, left = 1, sum = 0;

    while (!enough())
        __asm__ volatile("movl $7, %%r8d\n movl $20, %%esi\n"
                         "1: movl $9, %%edi\n"
                         "2: " DIVIDE DIVIDE DIVIDE DIVIDE DIVIDE "imulq $5, %0, %0\n incq %0\n"
                         "testb $0x70, %b0\n jz 3f\n decl %%edi\n jnz 2b\n"
                         "3: incq %%rcx\n addq %%rcx, %2\n decl %%esi\n jnz 1b"
                         : "+r"(n), "+c"(left), "+r"(sum)
                         : : "rax", "rdx", "rsi", "rdi", "r8", "cc");
    mix(n);
    mix(left);
    mix(sum);
}

static void on_null(int signo, siginfo_t *info, void *context)
{
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;

    (void)signo;
    (void)info;
    mix((uint64_t)regs[REG_RCX]);
    regs[REG_R9] = (greg_t)(uintptr_t)&counter;
}

/* A loop that faults: where a search has gone too far, in its copy of the loop. */
static void faulting(void)
{
    handle(SIGSEGV, on_null, 0);
    while (!enough())
        __asm__ volatile("movl $7, %%r8d\n movl $2000, %%esi\n xorl %%r10d, %%r10d\n"
                         "lea %0, %%r9\n movq $77, %%rcx\n"
                         "1: " DIVIDE DIVIDE "incq (%%r9)\n cmpl $100, %%esi\n"
                         "cmoveq %%r10, %%r9\n decl %%esi\n jnz 1b"
                         : "+m"(counter) : : "rax", "rcx", "rdx", "rsi", "r8", "r9", "r10", "cc");
    mix(counter);
}

__attribute__((noinline)) static uint64_t deeper(uint64_t depth)
{
    __asm__ volatile(SLOW : : : CLOBBERED);
    return depth ? deeper(depth - 1) + depth : counter++;
}

static void calls(void)
{
    uint64_t sum = 0;

    while (!enough())
        sum += deeper(5);
    mix(sum);
}

/* A stub at any of these instructions takes longer than all of them. */
__attribute__((noinline)) static void step(void)
{
    __asm__ volatile("incq %0" : "+m"(counter) : : "memory");
}

static void tight(void)
{
    while (!enough())
        step();
    mix(counter);
}

static void strings(void)
{
    while (!enough()) {
        const char *source = from;
        char *target = to;
        uint64_t n = sizeof to;

        __asm__ volatile("rep movsb" : "+S"(source), "+D"(target), "+c"(n) : : "memory");
        counter++;
    }
    mix(counter);
}

/* The displacement of a loop's addition is rewritten all the time, in a page that holds the loop. */
static void made(void)
{
    unsigned char *code = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    static const unsigned char loop[] = {
        0x31, 0xc0,             /* xor %eax,%eax */
        0xb9, 100, 0, 0, 0,     /* mov $100,%ecx */
        0x48, 0x83, 0xc0, 1,    /* 1: add $1,%rax */
        0x0f, 0xaf, 0xf9,       /* imul %ecx,%edi */
        0xff, 0xc9,             /* dec %ecx */
        0x75, 0xf5,             /* jnz 1b */
        0xc3,
    };
    unsigned round = 0;

    if (code == MAP_FAILED)
        _exit(99);
    memcpy(code, loop, sizeof loop);
    while (!enough()) {
        code[10] = (unsigned char)(1 + round++ % 9);
        counter += ((uint64_t(*)(unsigned))(uintptr_t)code)(3);
    }
    mix(counter);
}

/* The same, but writable only while it is rewritten, and then run for some time. */
static void remade(void)
{
    static const unsigned char loop[] = {
        0x31, 0xc0,             /* xor %eax,%eax */
        0xb9, 0x20, 0x4e, 0, 0, /* mov $20000,%ecx */
        0x48, 0x83, 0xc0, 1,    /* 1: add $1,%rax */
        0x0f, 0xaf, 0xf9,       /* imul %ecx,%edi */
        0xff, 0xc9,             /* dec %ecx */
        0x75, 0xf5,             /* jnz 1b */
        0xc3,
    };
    unsigned char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned round = 0;

    if (code == MAP_FAILED)
        _exit(99);
    memcpy(code, loop, sizeof loop);
    while (!enough()) {
        code[10] = (unsigned char)(1 + round++ % 9);
        mprotect(code, 4096, PROT_READ | PROT_EXEC);
        counter += ((uint64_t(*)(unsigned))(uintptr_t)code)(3);
        mprotect(code, 4096, PROT_READ | PROT_WRITE);
    }
    mix(counter);
}

/* Landings in the handler of a signal that the program raises itself, and in the code that returns from it. */
static void raised(int signo)
{
    (void)signo;
    counter++;
}

static void handlers(void)
{
    signal(SIGUSR1, raised);
    while (!enough()) {
        raise(SIGUSR1);
        for (int i = 0; i < 4000; i++)
            __asm__ volatile(SLOW : : : CLOBBERED);
    }
    mix(counter);
}

/* Landings in a trampoline of the program's own, which takes its time to return from the handler. */
void slow_restorer(void);
__asm__(".globl slow_restorer\nslow_restorer:\n movl $10000, %ebx\n1:\n movl $99, %eax\n"
        " xorl %edx, %edx\n movl $7, %ecx\n divl %ecx\n decl %ebx\n jnz 1b\n movl $15, %eax\n"
        " syscall\n");

static void trampolines(void)
{
    struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        unsigned long mask;
    } action = {raised, 0x04000000 /* SA_RESTORER */, slow_restorer, 0};

    if (syscall(SYS_rt_sigaction, SIGUSR1, &action, NULL, 8))
        _exit(99);
    while (!enough())
        raise(SIGUSR1);
    mix(counter);
}

/* Short instructions that are entered one further every time, by a jump to an address that is computed. Where the
 * program lies in the lowest 2 GiB, a jump fits at a division over those that follow only. */
static void computed(void)
{
    while (!enough())
        __asm__ volatile("movl $7, %%ecx\n xorl %%edx, %%edx\n leaq 1f(%%rip), %%rax\n addq %0, %%rax\n"
                         "jmp *%%rax\n1:\n .rept 12\n xorl %%edx, %%edx\n divl %%ecx\n .endr\n"
                         : : "r"(counter++ % 22 * 2) : CLOBBERED);
    mix(counter);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } loops[] = {
        {"registers", registers}, {"memory", memory}, {"vector", vector},     {"calls", calls},
        {"tight", tight},         {"strings", strings},     {"made", made},     {"remade", remade},
        {"handlers", handlers},   {"leaving", leaving},   {"faulting", faulting},
        {"trampolines", trampolines}, {"computed", computed},
    };

    wanted(argc - 1, argv + 1);
    handle(SIGALRM, again, 0);
    soon(50);
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++)
        if (argc > 1 && !strcmp(argv[1], loops[i].name))
            loops[i].run();
    say_landings();
    return 0;
}
