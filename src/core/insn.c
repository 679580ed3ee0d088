/* Encodings: Intel SDM volume 2, 2.1 to 2.7 and the opcode maps of appendix A. */
#include "insn.h"

#include <stdbool.h>
#include <string.h>

/* What follows an opcode. */
enum {
    M = 1,   /* ModRM and what it brings along */
    B = 2,   /* one byte */
    W = 4,   /* two */
    Z = 8,   /* four; two with an operand size of 16 bits */
    X = 128, /* not an instruction, or none that user code has */
};

static const uint8_t one_byte[256] = {
    [0x00 ... 0x03] = M, B, Z, X, X, [0x08 ... 0x0b] = M, B, Z, X, X,
    [0x10 ... 0x13] = M, B, Z, X, X, [0x18 ... 0x1b] = M, B, Z, X, X,
    [0x20 ... 0x23] = M, B, Z, X, X, [0x28 ... 0x2b] = M, B, Z, X, X,
    [0x30 ... 0x33] = M, B, Z, X, X, [0x38 ... 0x3b] = M, B, Z, X, X,
    [0x40 ... 0x4f] = X, /* a REX prefix that another prefix follows, else not seen here */
    [0x60 ... 0x62] = X, M, [0x64 ... 0x67] = X, Z, M | Z, B, M | B,
    [0x70 ... 0x7f] = B, M | B, M | Z, X, M | B, [0x84 ... 0x8f] = M,
    [0x9a] = X,
    [0xa8] = B, Z, [0xb0 ... 0xb7] = B,
    [0xc0] = M | B, M | B, W, 0, X, X, M | B, M | Z, W | B, 0, W, 0, 0, B, X, 0,
    [0xd0 ... 0xd3] = M, X, X, X, 0, [0xd8 ... 0xdf] = M,
    [0xe0 ... 0xe7] = B, Z, Z, X, B, [0xf0] = X, 0, X, X, [0xf6] = M, M, [0xfe] = M, M,
};

static const uint8_t after_0f[256] = {
    [0x00 ... 0x03] = M, X, [0x07] = X, 0, 0, X, 0, X, M, 0, M | B,
    [0x10 ... 0x1f] = M, [0x20 ... 0x27] = X, [0x28 ... 0x2f] = M,
    [0x30] = X, 0, X, X, 0, X, X, X, X, X, X, X, X, X, X, X,
    [0x40 ... 0x6f] = M, [0x70 ... 0x73] = M | B, M, M, M, 0, [0x78 ... 0x7f] = M,
    [0x80 ... 0x8f] = Z, [0x90 ... 0x9f] = M,
    [0xa3] = M, M | B, M, X, X, [0xaa] = X, M, M | B, M, M, M, [0xb0 ... 0xb9] = M, M | B,
    [0xbb ... 0xc1] = M, M | B, M, M | B, M | B, M | B, M, [0xd0 ... 0xff] = M,
};

struct cursor {
    const uint8_t *code, *at, *end;
    bool short_operand, bad;
};

static uint8_t take(struct cursor *c)
{
    if (c->at >= c->end) {
        c->bad = true;
        return 0;
    }
    return *c->at++;
}

static void skip(struct cursor *c, size_t n)
{
    if ((size_t)(c->end - c->at) < n) {
        c->bad = true;
        n = (size_t)(c->end - c->at);
    }
    c->at += n;
}

/* Returns the ModRM byte. */
static uint8_t operands(struct cursor *c, uint8_t what)
{
    uint8_t modrm = 0;

    if (what & X)
        c->bad = true;
    if (what & M) {
        uint8_t mod, rm;

        modrm = take(c);
        mod = modrm >> 6;
        rm = modrm & 7;
        if (mod != 3 && rm == 4 && (take(c) & 7) == 5 && mod == 0)
            skip(c, 4);
        if (mod == 0 && rm == 5)
            skip(c, 4);
        if (mod == 1 || mod == 2)
            skip(c, mod == 1 ? 1 : 4);
    }
    if (what & B)
        skip(c, 1);
    if (what & W)
        skip(c, 2);
    if (what & Z)
        skip(c, c->short_operand ? 2 : 4);
    return modrm;
}

static void leads(const struct cursor *c, uint8_t flow, unsigned size, uint64_t address,
                  struct insn *ret)
{
    int64_t displacement = 0;

    if (c->bad)
        return;
    if (size == 1) {
        displacement = (int8_t)c->at[-1];
    } else {
        int32_t four;

        memcpy(&four, c->at - 4, sizeof four);
        displacement = four;
    }
    ret->flow = flow;
    ret->target = address + (uint64_t)(c->at - c->code) + (uint64_t)displacement;
}

static void two_bytes(struct cursor *c, uint64_t address, struct insn *ret)
{
    uint8_t op = take(c), modrm;

    if (op == 0x38 || op == 0x3a) {
        take(c);
        operands(c, op == 0x38 ? M : M | B);
        return;
    }
    modrm = operands(c, after_0f[op]);
    switch (op) {
    case 0x01:
        if (modrm == 0xd5) /* xend */
            ret->flags = INSN_UNSTEPPED;
        break;
    case 0x05:
        ret->flow = FLOW_CALL_KERNEL;
        ret->flags = INSN_UNSTEPPED;
        break;
    case 0x34:
        ret->flow = FLOW_CALL_KERNEL;
        ret->flags = INSN_FIXED | INSN_UNSTEPPED;
        break;
    case 0x0b:
    case 0xb9:
    case 0xff:
        ret->flow = FLOW_AWAY;
        break;
    case 0x80 ... 0x8f:
        if (c->short_operand)
            c->bad = true; /* processors disagree about its length */
        leads(c, FLOW_BRANCH, 4, address, ret);
        ret->flags = INSN_EMULATED;
        break;
    case 0xa1:
    case 0xa9:
        ret->flags = INSN_UNSTEPPED; /* pop fs, pop gs */
        break;
    }
}

/* VEX, EVEX: `map` tells what the byte after the prefix would be preceded by. */
static void vector(struct cursor *c, unsigned map, bool evex)
{
    uint8_t op = take(c);

    if (map == 1)
        operands(c, evex || op != 0x77 ? (after_0f[op] & B) | M : 0);
    else if (map == 2 || map == 3 || (evex && (map == 5 || map == 6)))
        operands(c, map == 3 ? M | B : M);
    else
        c->bad = true;
}

static void group_ff(uint8_t modrm, const struct cursor *c, struct insn *ret)
{
    bool through_stack = modrm >> 6 != 3 && (modrm & 7) == 4 && c->at - c->code >= 3;

    switch (modrm >> 3 & 7) {
    case 2:
        ret->flow = FLOW_CALL;
        /* to rsp, or perhaps through memory that the call itself overwrites */
        if ((modrm & 0xc7) == 0xc4 || c->short_operand || through_stack)
            ret->flags = INSN_FIXED;
        break;
    case 3:
    case 5:
        ret->flow = (modrm >> 3 & 7) == 3 ? FLOW_CALL : FLOW_AWAY;
        ret->flags = INSN_FIXED | INSN_UNSTEPPED; /* far */
        break;
    case 4:
        ret->flow = FLOW_AWAY;
        break;
    }
}

static void one(struct cursor *c, uint8_t op, bool wide, bool short_address, uint64_t address,
                struct insn *ret)
{
    uint8_t what = one_byte[op], modrm;

    if (op >= 0xb8 && op <= 0xbf) {
        skip(c, wide ? 8 : c->short_operand ? 2 : 4);
        return;
    }
    if (op >= 0xa0 && op <= 0xa3) {
        skip(c, short_address ? 4 : 8);
        return;
    }
    modrm = operands(c, what);
    switch (op) {
    case 0x50 ... 0x57:
    case 0x90:
        ret->flags = c->short_operand ? 0 : INSN_EMULATED;
        break;
    case 0x70 ... 0x7f:
        leads(c, FLOW_BRANCH, 1, address, ret);
        ret->flags = INSN_EMULATED;
        break;
    case 0xe0 ... 0xe3: /* loop, jrcxz */
        leads(c, FLOW_BRANCH, 1, address, ret);
        break;
    case 0xe8:
    case 0xe9:
        if (c->short_operand)
            c->bad = true;
        leads(c, op == 0xe8 ? FLOW_CALL : FLOW_JUMP, 4, address, ret);
        ret->flags = INSN_EMULATED;
        break;
    case 0xeb:
        leads(c, FLOW_JUMP, 1, address, ret);
        ret->flags = INSN_EMULATED;
        break;
    case 0x8e: /* mov to a segment register */
    case 0xcc:
    case 0xf1:
        ret->flags = INSN_FIXED | INSN_UNSTEPPED;
        break;
    case 0x8f:
        if (modrm >> 3 & 7)
            c->bad = true; /* AMD's XOP */
        break;
    case 0x9c: /* pushf */
    case 0x9d: /* popf */
        ret->flags = INSN_FLAGS;
        break;
    case 0xc2:
    case 0xc3:
        ret->flow = FLOW_AWAY;
        break;
    case 0xc7:
        if (modrm == 0xf8) { /* xbegin */
            if (c->short_operand)
                c->bad = true;
            leads(c, FLOW_BRANCH, 4, address, ret);
            ret->flags = INSN_UNSTEPPED;
        }
        break;
    case 0xca:
    case 0xcb:
    case 0xcf:
        ret->flow = FLOW_AWAY;
        ret->flags = INSN_UNSTEPPED;
        break;
    case 0xcd:
        ret->flow = FLOW_CALL_KERNEL;
        ret->flags = INSN_UNSTEPPED;
        break;
    case 0xf4:
        ret->flow = FLOW_AWAY;
        break;
    case 0xf6:
    case 0xf7: /* test has an immediate, the others of the group have none */
        if ((modrm >> 3 & 7) < 2)
            skip(c, op == 0xf6 ? 1 : c->short_operand ? 2 : 4);
        break;
    case 0xff:
        group_ff(modrm, c, ret);
        break;
    }
}

void insn_decode(const uint8_t *code, size_t len, uint64_t address, struct insn *ret)
{
    struct cursor c = {code, code, code + (len < INSN_MAX ? len : INSN_MAX), false, false};
    bool short_address = false, short_seen = false;
    uint8_t op, rex = 0, second;

    *ret = (struct insn){0};
    for (;;) {
        op = take(&c);
        if (op == 0x66)
            short_seen = true;
        else if (op == 0x67)
            short_address = true;
        else if (op != 0xf0 && op != 0xf2 && op != 0xf3 && op != 0x2e && op != 0x36 &&
                 op != 0x3e && op != 0x26 && op != 0x64 && op != 0x65)
            break;
    }
    if ((op & 0xf0) == 0x40) {
        rex = op;
        op = take(&c);
    }
    c.short_operand = short_seen && !(rex & 8);
    switch (op) {
    case 0x0f:
        two_bytes(&c, address, ret);
        break;
    case 0xc5:
        take(&c);
        vector(&c, 1, false);
        break;
    case 0xc4:
        second = take(&c);
        take(&c);
        vector(&c, second & 0x1f, false);
        break;
    case 0x62:
        second = take(&c);
        take(&c);
        take(&c);
        vector(&c, second & 7, true);
        break;
    default:
        one(&c, op, rex & 8, short_address, address, ret);
    }
    if (c.bad)
        *ret = (struct insn){0};
    else
        ret->len = (uint8_t)(c.at - code);
}
