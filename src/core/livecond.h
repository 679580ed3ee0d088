/* Conditions as the supervisor decides them: the stack code of
 * relive.conditions.ir.linearize, run on a stopped task's registers and memory. */
#ifndef RELIVE_LIVECOND_H
#define RELIVE_LIVECOND_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum outcome {
    REJECT = 0,
    MATCH = 1,
    UNDECIDED = 2,
};

/* Numbers shared with relive.conditions.supervisor; the order is part of it. */
enum cond_opcode {
    COP_CONST, COP_REG, COP_HITS, COP_LOAD, COP_NEG, COP_NOT, COP_LNOT, COP_BOOL,
    COP_ADD, COP_SUB, COP_MUL, COP_UDIV, COP_SDIV, COP_UREM, COP_SREM,
    COP_AND, COP_OR, COP_XOR, COP_SHL, COP_LSHR, COP_ASHR,
    COP_EQ, COP_NE, COP_ULT, COP_ULE, COP_SLT, COP_SLE,
    COP_JUMP, COP_BRANCH_FALSE, COP_BRANCH_TRUE, COP_JUMP_FALSE, COP_JUMP_TRUE,
    COP_COUNT,
};

/* The encoding: u32 opcode, u32 zero, u64 operand; a load's operand is 1, 2, 4, 8
 * or the negative of it (signed), as a 64-bit word. */
struct cond_op {
    uint32_t opcode;
    uint32_t known; /* filled in here: for a load, 1 + its number among cond.known */
    uint64_t operand;
};

/* A load whose address is a register plus a constant, so that several such
 * loads can be fetched by one system call. */
struct cond_known {
    uint8_t reg; /* 0xff: none */
    uint8_t size;
    uint64_t add;
};

#define COND_KNOWN_MAX 32

struct cond {
    unsigned n_ops, n_known, depth;
    struct cond_known known[COND_KNOWN_MAX];
    struct cond_op ops[];
};

/* Original bytes that breakpoint instructions hide, by address, ascending. */
struct overlay {
    const uint64_t *addrs;
    const uint8_t *bytes;
    size_t count;
};

/* The memory of a task, as the task itself may read it. */
struct cond_memory {
    pid_t pid;
    const struct overlay *overlay;
};

/* Checks the code and makes it ready: -EINVAL when it could run away. */
int cond_create(const void *code, size_t len, unsigned max_depth, struct cond **ret);
void cond_destroy(struct cond *c);

/* The value of the code: 0, -EFAULT (a load failed: its address in *ret_fault),
 * -EDOM (division by zero), -ESRCH (the task is gone). */
int cond_value(const struct cond *c, const uint64_t *regs, uint64_t hits,
               const struct cond_memory *m, uint64_t *ret_value, uint64_t *ret_fault);

/* Readable bytes at addr as the program sees them: 0, or -EFAULT, -ESRCH. */
int cond_read(const struct cond_memory *m, uint64_t addr, void *to, size_t len);
void overlay_apply(const struct overlay *o, uint64_t addr, uint8_t *bytes, size_t len);

#endif
