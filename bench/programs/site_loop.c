/* Rounds of a short loop with a place for a site: each prints the nanoseconds of
 * processor time an iteration took and raises SIGTRAP. Argument: iterations of a round. */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t words[8], iterations = 1000000, calls; /* the supervisor changes these */
void hot(uint64_t n, volatile uint64_t *memory);
__asm__(".text\n.globl hot\n.type hot, @function\n"
        "hot: push %rbx\n xor %ebx, %ebx\n"
        ".globl site\n.type site, @function\n"
        "1:\nsite: add $1, %rbx\n nopl 0(%rax)\n mov %rbx, (%rsi)\n cmp %rdi, %rbx\n jb 1b\n"
        ".size site, .-site\n pop %rbx\n ret\n.size hot, .-hot\n");

void hot_call(uint64_t n, volatile uint64_t *memory);
__asm__(".text\n.p2align 4\ntiny: ret\n.p2align 4\n.globl hot_call\n.type hot_call, @function\n"
        "hot_call: push %rbx\n xor %ebx, %ebx\n"
        ".globl at_call\n.type at_call, @function\n"
        "1: add $1, %rbx\nat_call: call tiny\n.size at_call, .-at_call\n"
        " cmp %rdi, %rbx\n jb 1b\n pop %rbx\n ret\n.size hot_call, .-hot_call\n");

static uint64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int main(void)
{
    uint64_t out;
    char line[64];

    for (;;) {
        uint64_t begin = now();

        (calls ? hot_call : hot)(iterations, &out);
        snprintf(line, sizeof line, "%.4f\n", (double)(now() - begin) / (double)iterations);
        if (write(1, line, strlen(line)) < 0)
            return 1;
        raise(SIGTRAP);
    }
}
