/* Threads in a loop whose registers, flags and red zone must survive everything,
 * with signals arriving whose handler runs the same code.
 * Arguments: threads, calls of each, signals or not. Prints the number of calls. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

static atomic_ulong calls, in_handlers, wrong;
static atomic_int running;
uint64_t word = 77;

/* Fills all registers but rsp, the flags and the red zone, passes the sites, and
 * compares: the number of differences. */
uint64_t careful(uint64_t seed);
__asm__(".text\n.globl careful\n.type careful, @function\ncareful:\n"
        "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "mov %rdi, %rax\n"
        "movq %rdi, %xmm0; movq %rdi, %xmm15; punpcklqdq %xmm0, %xmm0\n"
        "lea 1(%rax), %rbx; lea 2(%rax), %rcx; lea 3(%rax), %rdx; lea 4(%rax), %rsi\n"
        "lea 5(%rax), %rbp; lea 6(%rax), %r8; lea 7(%rax), %r9; lea 8(%rax), %r10\n"
        "lea 9(%rax), %r11; lea 10(%rax), %r12; lea 11(%rax), %r13; lea 12(%rax), %r14\n"
        "lea 13(%rax), %r15\n"
        "mov %rax, -8(%rsp); mov %rbx, -64(%rsp); mov %rcx, -128(%rsp)\n"
        "cmp $0, %rdi; sahf\n" /* flags from bits of the seed; rax is the seed */
        ".globl short1, short2, short3, short4, relative, last\n"
        ".type short1, @function; .type short2, @function; .type short3, @function\n"
        ".type short4, @function; .type relative, @function; .type last, @function\n"
        "short1: nop\n"
        "short2: xchg %ax, %ax\n"
        "short3: lea (%rax), %rax\n"
        "short4: nopl (%rax)\n"
        "relative: mov word(%rip), %rdi\n"
        "last: lahf\n"
        "movzbl %ah, %edi\n"
        ".size short1, 1; .size short2, 2; .size short3, 3; .size short4, 3\n"
        ".size relative, 7; .size last, 1\n"
        "mov %rdi, -16(%rsp)\n"
        "mov -8(%rsp), %rdi\n" /* the seed */
        "xor %eax, %eax\n"
        ".macro same reg, n\n lea \\n(%rdi), %rdi; cmp \\reg, %rdi; je 1f; inc %rax\n"
        "1: lea -\\n(%rdi), %rdi\n.endm\n"
        "same %rbx, 1; same %rcx, 2; same %rdx, 3; same %rsi, 4; same %rbp, 5; same %r8, 6\n"
        "same %r9, 7; same %r10, 8; same %r11, 9; same %r12, 10; same %r13, 11; same %r14, 12\n"
        "same %r15, 13\n"
        "cmp -64(%rsp), %rbx; je 1f; inc %rax; 1: cmp -128(%rsp), %rcx; je 1f; inc %rax; 1:\n"
        "movq %xmm0, %rbx; cmp %rbx, %rdi; je 1f; inc %rax; 1:\n"
        "movq %xmm15, %rbx; cmp %rbx, %rdi; je 1f; inc %rax; 1:\n"
        /* sahf then lahf: SF ZF AF PF CF of ah, and bit 1 */
        "mov %rdi, %rbx; shr $8, %rbx; and $0xd5, %ebx; or $2, %ebx\n"
        "cmp -16(%rsp), %rbx; je 1f; inc %rax; 1:\n"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n"
        ".size careful, .-careful\n");

static void once(uint64_t seed)
{
    if (careful(seed))
        wrong++;
    calls++;
}

static void handler(int sig)
{
    (void)sig;
    once(0x1234567890abcdefu);
    in_handlers++;
}

static void *work(void *arg)
{
    uint64_t n = (uint64_t)(uintptr_t)arg, x = n;

    running++;
    while (n--) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        once(x);
    }
    running--;
    return NULL;
}

int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 2, signals = argc > 3 && atoi(argv[3]);
    uintptr_t each = argc > 2 ? strtoul(argv[2], 0, 0) : 1000;
    struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 700}, {0, 700}}, never = {{0, 0}, {0, 0}};
    pthread_t t[64];

    sigaction(SIGALRM, &sa, NULL);
    sigaction(SIGUSR1, &sa, NULL);
    if (signals)
        setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; i < n; i++)
        pthread_create(&t[i], NULL, work, (void *)each);
    for (int i = 0; signals && i < 400 && running; i++) {
        pthread_kill(t[i % n], SIGUSR1);
        usleep(100);
    }
    for (int i = 0; i < n; i++)
        pthread_join(t[i], NULL);
    setitimer(ITIMER_REAL, &never, NULL);
    printf("%lu %lu %d\n", (unsigned long)calls, (unsigned long)wrong, in_handlers > 0);
    return 0;
}
