/* Instructions of one byte before bytes that lead nowhere: read as a displacement, 00 00 00 00 is an
 * address in the program itself.  What follows is jumped to as well. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

uint64_t lone(uint8_t *scratch, uint64_t way);
__asm__(".text\n.globl lone\n.type lone, @function\n"
        "lone: mov %rdi, %rax\n test %rsi, %rsi\n jne 1f\n"
        ".globl short\n.type short, @function\nshort: push %rbx\n"
        ".globl after\n.type after, @function\nafter: add %al, (%rax)\n"
        ".globl third\n.type third, @function\nthird: add %al, (%rax)\n"
        "mov %rax, %rbx\n lea 1(%rbx), %rdx\n pop %rbx\n sub %rdi, %rdx\n mov %rdx, %rax\n ret\n"
        ".size short, 1\n.size after, 2\n.size third, 2\n"
        "1: push %rbx\n jmp after\n.size lone, .-lone\n");

int main(int argc, char **argv)
{
    static uint8_t scratch[512] __attribute__((aligned(256)));
    uint64_t n = argc > 1 ? strtoull(argv[1], 0, 0) : 1000;
    uint64_t sum = 0;

    /* al is 1 */
    for (uint64_t i = 0; i < n; i++)
        sum += lone(scratch + 1, i % 3 == 0);
    printf("%u %llu\n", scratch[1], (unsigned long long)sum);
    return 0;
}
