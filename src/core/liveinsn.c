/* Encodings: Intel SDM volume 2. Flags: volume 1, 3.4.3.1. */
#define _GNU_SOURCE
#include "liveinsn.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/uio.h>

#define NO_REG 0xff

/* From the number in an encoding to the index in struct regs. */
static const uint8_t numbered[16] = {
    R_RAX, R_RCX, R_RDX, R_RBX, R_RSP, R_RBP, R_RSI, R_RDI,
    R_R8,  R_R9,  R_R10, R_R11, R_R12, R_R13, R_R14, R_R15,
};

enum {
    CF = 1, PF = 4, AF = 0x10, ZF = 0x40, SF = 0x80, TF = 0x100, OF = 0x800,
    ARITHMETIC = CF | PF | AF | ZF | SF | OF,
};

struct cursor {
    const uint8_t *at, *end;
    bool bad;
};

static uint8_t take8(struct cursor *c)
{
    if (c->at >= c->end) {
        c->bad = true;
        return 0;
    }
    return *c->at++;
}

static uint64_t take_signed(struct cursor *c, unsigned size)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < size; i++)
        v |= (uint64_t)take8(c) << (8 * i);
    if (size == 1)
        return (uint64_t)(int64_t)(int8_t)v;
    if (size == 4)
        return (uint64_t)(int64_t)(int32_t)v;
    return v;
}

/* The memory operand of lea. */
static void take_address(struct cursor *c, uint8_t modrm, uint8_t rex, struct emu *e, bool *ret_rip)
{
    uint8_t mod = modrm >> 6, rm = modrm & 7;

    e->base = e->index = NO_REG;
    if (rm == 4) {
        uint8_t sib = take8(c), index = (uint8_t)((sib >> 3 & 7) | (rex & 2) << 2);

        e->scale = sib >> 6;
        if (index != 4)
            e->index = numbered[index];
        if ((sib & 7) == 5 && mod == 0)
            e->imm = take_signed(c, 4);
        else
            e->base = numbered[(sib & 7) | (rex & 1) << 3];
    } else if (rm == 5 && mod == 0) {
        e->imm = take_signed(c, 4);
        *ret_rip = true;
    } else {
        e->base = numbered[rm | (rex & 1) << 3];
    }
    if (mod == 1)
        e->imm = take_signed(c, 1);
    else if (mod == 2)
        e->imm = take_signed(c, 4);
}

static void skip_operand(struct cursor *c, uint8_t modrm)
{
    struct emu ignored = {0};
    bool rip = false;

    if (modrm >> 6 != 3)
        take_address(c, modrm, 0, &ignored, &rip);
}

static void decode_0f(struct cursor *c, uint8_t rex, bool rep, bool small, uint64_t addr,
                      const uint8_t *code, struct emu *e)
{
    uint8_t op = take8(c), modrm;

    if (op >= 0x80 && op <= 0x8f && !rep && !small) {
        e->condition = op & 15;
        e->imm = take_signed(c, 4);
        e->imm += addr + (uint64_t)(c->at - code);
        e->kind = EMU_JCC;
        return;
    }
    if (op == 0x1e && rep && !rex && !small) {
        if (take8(c) == 0xfa)
            e->kind = EMU_NOP; /* endbr64: without effect where user IBT is off, as in Linux */
        return;
    }
    if (op == 0x1f && !rep) { /* nop r/m */
        modrm = take8(c);
        skip_operand(c, modrm);
        if ((modrm >> 3 & 7) == 0)
            e->kind = EMU_NOP;
    }
}

static void decode_arithmetic(struct cursor *c, uint8_t op, uint8_t modrm, uint8_t rex,
                              struct emu *e)
{
    uint8_t reg = numbered[(modrm >> 3 & 7) | (rex & 4) << 1];
    uint8_t rm = numbered[(modrm & 7) | (rex & 1) << 3];
    static const uint8_t kinds[8] = {EMU_ADD, 0, 0, 0, 0, EMU_SUB, 0, EMU_CMP};

    if (modrm >> 6 != 3)
        return;
    if (op == 0x83 || op == 0x81) {
        e->to = rm;
        e->from = NO_REG;
        e->imm = take_signed(c, op == 0x83 ? 1 : 4);
        e->kind = kinds[modrm >> 3 & 7];
        return;
    }
    e->kind = kinds[op >> 3 & 7];
    e->to = op & 2 ? reg : rm;
    e->from = op & 2 ? rm : reg;
}

static void decode_ff(struct cursor *c, uint8_t rex, uint64_t addr, const uint8_t *code,
                      struct emu *e)
{
    uint8_t modrm = take8(c), what = modrm >> 3 & 7;

    if (what != 2 && what != 4)
        return;
    if (modrm >> 6 == 3) {
        e->from = numbered[(modrm & 7) | (rex & 1) << 3];
        e->kind = what == 2 ? EMU_CALL_REG : EMU_JMP_REG;
    } else if ((modrm & 0xc7) == 5) {
        e->imm = take_signed(c, 4);
        e->imm += addr + (uint64_t)(c->at - code);
        e->kind = what == 2 ? EMU_CALL_MEM : EMU_JMP_MEM;
    }
}

void emu_decode(const uint8_t *code, size_t len, uint64_t addr, struct emu *e)
{
    struct cursor c = {code, code + (len < 15 ? len : 15), false};
    bool small = false, rep = false, rip = false;
    uint8_t rex = 0, op, modrm;

    memset(e, 0, sizeof *e);
    e->to = e->from = e->base = e->index = NO_REG;
    for (;;) {
        op = take8(&c);
        if (op == 0x66)
            small = true;
        else if (op == 0xf3)
            rep = true;
        else if (op != 0x2e && op != 0x3e) /* cs, ds: padding, hints, notrack */
            break;
    }
    if ((op & 0xf0) == 0x40) {
        rex = op;
        op = take8(&c);
    }
    e->wide = !!(rex & 8);
    if (op == 0x0f) {
        decode_0f(&c, rex, rep, small, addr, code, e);
        goto out;
    }
    if (op == 0x90 && !(rex & 1)) {
        e->kind = EMU_NOP;
        goto out;
    }
    if (small || (rep && op != 0xc3))
        goto out;
    switch (op) {
    case 0x50 ... 0x57:
    case 0x58 ... 0x5f:
        e->to = numbered[(op & 7) | (rex & 1) << 3];
        e->kind = op < 0x58 ? EMU_PUSH : EMU_POP;
        break;
    case 0x89:
    case 0x8b:
        modrm = take8(&c);
        if (modrm >> 6 == 3) {
            uint8_t reg = numbered[(modrm >> 3 & 7) | (rex & 4) << 1];
            uint8_t rm = numbered[(modrm & 7) | (rex & 1) << 3];

            e->to = op == 0x89 ? rm : reg;
            e->from = op == 0x89 ? reg : rm;
            e->kind = EMU_MOV;
        }
        break;
    case 0xb8 ... 0xbf:
        e->to = numbered[(op & 7) | (rex & 1) << 3];
        e->imm = take_signed(&c, e->wide ? 8 : 4);
        e->kind = EMU_CONST;
        break;
    case 0xc7:
        modrm = take8(&c);
        if ((modrm & 0xf8) == 0xc0) {
            e->to = numbered[(modrm & 7) | (rex & 1) << 3];
            e->imm = take_signed(&c, 4);
            e->kind = EMU_CONST;
        }
        break;
    case 0x8d:
        modrm = take8(&c);
        if (modrm >> 6 != 3) {
            take_address(&c, modrm, rex, e, &rip);
            e->to = numbered[(modrm >> 3 & 7) | (rex & 4) << 1];
            if (rip)
                e->imm += addr + (uint64_t)(c.at - code);
            e->kind = EMU_LEA;
        }
        break;
    case 0x01:
    case 0x03:
    case 0x29:
    case 0x2b:
    case 0x39:
    case 0x3b:
    case 0x81:
    case 0x83:
        modrm = take8(&c);
        decode_arithmetic(&c, op, modrm, rex, e);
        break;
    case 0xeb:
    case 0xe9:
    case 0xe8:
    case 0x70 ... 0x7f:
        e->condition = op & 15;
        e->imm = take_signed(&c, op == 0xe9 || op == 0xe8 ? 4 : 1);
        e->imm += addr + (uint64_t)(c.at - code);
        e->kind = op == 0xe8 ? EMU_CALL : op >= 0xe9 ? EMU_JMP : EMU_JCC;
        break;
    case 0xc3:
        e->kind = EMU_RET;
        break;
    case 0xff:
        decode_ff(&c, rex, addr, code, e);
        break;
    }
out:
    e->len = (uint8_t)(c.at - code);
    if (c.bad)
        e->kind = EMU_NONE;
}

static bool holds(uint8_t condition, uint64_t f)
{
    bool yes, less = !(f & SF) != !(f & OF);

    switch (condition >> 1) {
    case 0:
        yes = f & OF;
        break;
    case 1:
        yes = f & CF;
        break;
    case 2:
        yes = f & ZF;
        break;
    case 3:
        yes = f & (CF | ZF);
        break;
    case 4:
        yes = f & SF;
        break;
    case 5:
        yes = f & PF;
        break;
    case 6:
        yes = less;
        break;
    default:
        yes = less || (f & ZF);
    }
    return yes != (condition & 1);
}

static uint64_t arithmetic(uint8_t kind, bool wide, uint64_t a, uint64_t b, uint64_t *flags)
{
    uint64_t mask = wide ? ~0ull : 0xffffffffull, sign = wide ? 1ull << 63 : 1ull << 31;
    uint64_t result, f = 0;

    a &= mask;
    b &= mask;
    if (kind == EMU_ADD) {
        result = (a + b) & mask;
        f |= result < a ? CF : 0;
        f |= (a ^ result) & (b ^ result) & sign ? OF : 0;
    } else {
        result = (a - b) & mask;
        f |= a < b ? CF : 0;
        f |= (a ^ b) & (a ^ result) & sign ? OF : 0;
    }
    f |= (a ^ b ^ result) & 0x10 ? AF : 0;
    f |= result & sign ? SF : 0;
    f |= result ? 0 : ZF;
    f |= __builtin_parity((unsigned)(result & 0xff)) ? 0 : PF;
    *flags = (*flags & ~(uint64_t)ARITHMETIC) | f;
    return result;
}

/* With the program's own rights: a push to a read-only page must fault. */
static int write_word(pid_t pid, uint64_t addr, uint64_t value)
{
    struct iovec local = {&value, sizeof value}, remote = {(void *)addr, sizeof value};

    if (process_vm_writev(pid, &local, 1, &remote, 1, 0) == sizeof value)
        return 0;
    return -EFAULT;
}

static int read_word(pid_t pid, uint64_t addr, uint64_t *ret)
{
    struct iovec local = {ret, sizeof *ret}, remote = {(void *)addr, sizeof *ret};

    if (process_vm_readv(pid, &local, 1, &remote, 1, 0) == sizeof *ret)
        return 0;
    return -EFAULT;
}

int emu_run(const struct emu *e, pid_t pid, uint64_t addr, struct regs *r, int *ret_only_rip)
{
    uint64_t next = addr + e->len, rsp = r->r[R_RSP], v, target;
    int rc;

    *ret_only_rip = 0;
    if (r->r[R_EFLAGS] & TF)
        return -ENOSYS; /* the program steps itself: it must see its trap */
    switch (e->kind) {
    case EMU_NOP:
        *ret_only_rip = 1;
        break;
    case EMU_PUSH:
        if ((rc = write_word(pid, rsp - 8, r->r[e->to])))
            return rc;
        r->r[R_RSP] = rsp - 8;
        break;
    case EMU_POP:
        if ((rc = read_word(pid, rsp, &v)))
            return rc;
        r->r[R_RSP] = rsp + 8;
        r->r[e->to] = v; /* pop rsp: the value wins */
        break;
    case EMU_MOV:
        v = r->r[e->from];
        r->r[e->to] = e->wide ? v : (uint32_t)v;
        break;
    case EMU_CONST:
        r->r[e->to] = e->wide ? e->imm : (uint32_t)e->imm;
        break;
    case EMU_LEA:
        v = e->imm;
        if (e->base != NO_REG)
            v += r->r[e->base];
        if (e->index != NO_REG)
            v += r->r[e->index] << e->scale;
        r->r[e->to] = e->wide ? v : (uint32_t)v;
        break;
    case EMU_ADD:
    case EMU_SUB:
    case EMU_CMP:
        v = arithmetic(e->kind, e->wide, r->r[e->to], e->from == NO_REG ? e->imm : r->r[e->from],
                       &r->r[R_EFLAGS]);
        if (e->kind != EMU_CMP)
            r->r[e->to] = v;
        break;
    case EMU_JMP:
        *ret_only_rip = 1;
        next = e->imm;
        break;
    case EMU_JCC:
        *ret_only_rip = 1;
        if (holds(e->condition, r->r[R_EFLAGS]))
            next = e->imm;
        break;
    case EMU_JMP_REG:
    case EMU_JMP_MEM:
    case EMU_CALL_REG:
    case EMU_CALL_MEM:
    case EMU_CALL:
        target = e->imm;
        if (e->kind == EMU_JMP_REG || e->kind == EMU_CALL_REG)
            target = r->r[e->from];
        else if (e->kind != EMU_CALL && (rc = read_word(pid, e->imm, &target)))
            return rc;
        if ((int64_t)target >> 47 != 0)
            return -EFAULT; /* not canonical: the processor faults at the jump itself */
        if (e->kind == EMU_JMP_REG || e->kind == EMU_JMP_MEM) {
            *ret_only_rip = 1;
        } else {
            if ((rc = write_word(pid, rsp - 8, next)))
                return rc;
            r->r[R_RSP] = rsp - 8;
        }
        next = target;
        break;
    case EMU_RET:
        if ((rc = read_word(pid, rsp, &target)))
            return rc;
        if ((int64_t)target >> 47 != 0)
            return -EFAULT;
        r->r[R_RSP] = rsp + 8;
        next = target;
        break;
    default:
        return -ENOSYS;
    }
    r->r[R_RIP] = next;
    return 0;
}
