/* All general registers survive a call but rax, rcx and r11, which get what the manual says. */
#include "check.h"

__attribute__((noinline, noclone)) static void check_call(long number, long argument)
{
    uint64_t in[13], out[13], after, flags, result, next;
    for (uint64_t i = 0; i < 13; i++)
        in[i] = 0x1111111111111111u * (i + 1);
    in[4] = (uint64_t)argument; /* rdi */
    struct {
        uint64_t *in, *out;
        uint64_t number, result, rcx, r11, next, saved_rbp, saved_rbx;
    } frame = {in, out, (uint64_t)number, 0, 0, 0, 0, 0, 0};
    __asm__ volatile("lea -128(%%rsp), %%rsp\n\t" /* the red zone is the compiler's */
                     "mov %%rbp, 56(%%rax)\n\tmov %%rbx, 64(%%rax)\n\t"
                     "push %%rax\n\t"
                     "lea 1f(%%rip), %%rcx\n\tmov %%rcx, 48(%%rax)\n\t"
                     "mov 0(%%rax), %%rcx\n\t"
                     "mov 0(%%rcx), %%rbx\n\tmov 8(%%rcx), %%rdx\n\tmov 16(%%rcx), %%rsi\n\t"
                     "mov 24(%%rcx), %%rbp\n\tmov 32(%%rcx), %%rdi\n\tmov 40(%%rcx), %%r8\n\t"
                     "mov 48(%%rcx), %%r9\n\tmov 56(%%rcx), %%r10\n\tmov 64(%%rcx), %%r12\n\t"
                     "mov 72(%%rcx), %%r13\n\tmov 80(%%rcx), %%r14\n\tmov 88(%%rcx), %%r15\n\t"
                     "mov 16(%%rax), %%rax\n\t"
                     "syscall\n"
                     "1:\n\t"
                     "xchg %%rcx, (%%rsp)\n\t" /* rcx: frame; on the stack: the call's rcx */
                     "mov %%rax, 24(%%rcx)\n\tmov %%r11, 40(%%rcx)\n\t"
                     "pop %%rax\n\tmov %%rax, 32(%%rcx)\n\t"
                     "mov 8(%%rcx), %%rax\n\t"
                     "mov %%rbx, 0(%%rax)\n\tmov %%rdx, 8(%%rax)\n\tmov %%rsi, 16(%%rax)\n\t"
                     "mov %%rbp, 24(%%rax)\n\tmov %%rdi, 32(%%rax)\n\tmov %%r8, 40(%%rax)\n\t"
                     "mov %%r9, 48(%%rax)\n\tmov %%r10, 56(%%rax)\n\tmov %%r12, 64(%%rax)\n\t"
                     "mov %%r13, 72(%%rax)\n\tmov %%r14, 80(%%rax)\n\tmov %%r15, 88(%%rax)\n\t"
                     "mov 56(%%rcx), %%rbp\n\tmov 64(%%rcx), %%rbx\n\t"
                     "lea 128(%%rsp), %%rsp\n\t"
                     :
                     : "a"(&frame)
                     : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
                       "r15", "memory", "cc");
    result = frame.result;
    after = frame.rcx;
    flags = frame.r11;
    next = frame.next;
    CHECK(after == next);
    CHECK((flags & 0x202) == 0x202);
    for (int i = 0; i < 12; i++)
        CHECK(in[i] == out[i]);
    printf("call %ld result %ld\n", number, (long)result);
}

int main(void)
{
    for (int i = 0; i < 3; i++) {
        check_call(SYS_getpid, 0);
        check_call(SYS_close, 1000);
        check_call(SYS_sched_yield, 0);
        check_call(1023, 0); /* no such call */
        check_call(SYS_alarm, 0);
        check_call(SYS_dup, 1);
    }
    return success();
}
