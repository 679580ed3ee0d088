/* A loop with a site that has a name, for counting. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

uint64_t word;
uint64_t hot(uint64_t n, uint64_t *mem);
__asm__(".text\n.globl hot\n.type hot, @function\n"
        "hot: push %rbx\n xor %ebx, %ebx\n"
        ".globl site\n.type site, @function\n"
        "1: site: add $1, %rbx\n nopl 0(%rax)\n mov %rbx, (%rsi)\n cmp %rdi, %rbx\n"
        ".globl branch\n.type branch, @function\nbranch: jb 1b\n"
        ".size site, .-site\n.size branch, .-branch\n"
        "mov %rbx, %rax\n pop %rbx\n ret\n.size hot, .-hot\n");

int main(int argc, char **argv)
{
    uint64_t n = argc > 1 ? strtoull(argv[1], 0, 0) : 1000;

    printf("%llu\n", (unsigned long long)hot(n, &word));
    return word != n;
}
