/* Instructions simple enough to be carried out on a stopped task's registers,
 * which spares the single-step. Only where the result is exactly that of the
 * processor; everything else is EMU_NONE. */
#ifndef RELIVE_LIVEINSN_H
#define RELIVE_LIVEINSN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tracee.h"

enum emu_kind {
    EMU_NONE,
    EMU_NOP,       /* nop in all forms, endbr64, pause */
    EMU_PUSH,      /* push r64 */
    EMU_POP,       /* pop r64 */
    EMU_MOV,       /* mov r, r */
    EMU_CONST,     /* mov r, imm */
    EMU_LEA,       /* lea r, [base + index * scale + disp] or [rip + disp] */
    EMU_ADD,       /* add, sub, cmp between registers or with an immediate */
    EMU_SUB,
    EMU_CMP,
    EMU_JMP,       /* jmp rel */
    EMU_JCC,       /* jcc rel */
    EMU_JMP_REG,   /* jmp r64 */
    EMU_JMP_MEM,   /* jmp [rip + disp] */
    EMU_CALL,      /* call rel32 */
    EMU_CALL_REG,  /* call r64 */
    EMU_CALL_MEM,  /* call [rip + disp] */
    EMU_RET,       /* ret */
};

struct emu {
    uint8_t kind, len;
    uint8_t wide;           /* 64-bit operation; else 32-bit */
    uint8_t to, from;       /* register indices; 0xff: the immediate, or none */
    uint8_t base, index, scale, condition;
    uint64_t imm;           /* immediate, displacement, or absolute target */
};

/* Decodes the instruction at addr; kind EMU_NONE when it is not one of these. */
void emu_decode(const uint8_t *code, size_t len, uint64_t addr, struct emu *ret);

/* Carries it out: changes *r (rip too) and the task's memory. Returns 0 or
 * -errno, and then nothing has changed. *ret_only_rip: nothing but rip changed. */
int emu_run(const struct emu *e, pid_t pid, uint64_t addr, struct regs *r, int *ret_only_rip);

#endif
