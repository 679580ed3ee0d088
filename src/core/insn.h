/* Where instructions end, and where they lead: no more of x86-64 code than what it takes to tell
 * whether a jump could be put in its place. */
#ifndef RELIVE_INSN_H
#define RELIVE_INSN_H

#include <stddef.h>
#include <stdint.h>

#define INSN_MAX 15

enum insn_flow {
    FLOW_NEXT = 0,
    FLOW_BRANCH, /* conditional, to `target` */
    FLOW_JUMP,   /* to `target` */
    FLOW_CALL,   /* direct or indirect; `target` of a direct one, else 0 */
    FLOW_CALL_KERNEL, /* syscall, int n */
    FLOW_AWAY,   /* an indirect jump, a return, ud2: never falls through */
};

/* It can't be executed elsewhere: the program's own breakpoints, loads of segment registers (which
 * delay traps), sysenter, odd calls. */
#define INSN_FIXED 1u
/* A single step of it would show (iret), be delayed, or abort a transaction. */
#define INSN_UNSTEPPED 2u
/* pushf, popf: a step would show, a breakpoint behind it does not. */
#define INSN_FLAGS 4u
/* The kernel emulates it at a uprobe (arch/x86/kernel/uprobes.c). */
#define INSN_EMULATED 8u

struct insn {
    uint8_t len; /* 0: not known, or cut off */
    uint8_t flow, flags;
    uint64_t target;
};

void insn_decode(const uint8_t *code, size_t len, uint64_t address, struct insn *ret);

#endif
