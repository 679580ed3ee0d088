/* The agent: relive's own code in the process.
 *
 * Laws
 * 1. Position: one page of code at AGENT_TEXT and one of data behind it, the
 *    same in every recorded and replayed process.
 * 2. It never touches the program's stack, registers or memory.
 * 3. It runs only when the supervisor sets the instruction pointer here, or the program
 *    calls what the recorder has put in place of a vsyscall's address.
 * 4. What it does is the same when recording and when replaying.
 *
 * As an executable (exec'd by the replayer to get an empty address space) it
 * stops at once: the supervisor takes over at its first instruction.
 */
    .section .text, "ax", @progbits
    .globl _start, relive_remote_syscall
relive_remote_syscall:          /* AGENT_TEXT + 0: the remote system call */
    syscall
    int3
    .balign 16
_start:                         /* AGENT_TEXT + 16 */
    int3
    jmp _start
    /* What the program calls instead of the vsyscall page (record/vsyscall.py). */
    .macro vsyscall number
    .balign 16
    mov $\number, %eax
    syscall
    ret
    .endm
    vsyscall 96                 /* AGENT_TEXT + 32: gettimeofday */
    vsyscall 201                /* AGENT_TEXT + 48: time */
    vsyscall 309                /* AGENT_TEXT + 64: getcpu */
    .balign 4096, 0xcc

    .section .data, "aw", @progbits
    .fill 4096, 1, 0
    .section .note.GNU-stack, "", @progbits
