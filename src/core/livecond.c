#define _GNU_SOURCE
#include "livecond.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "tracee.h"

#define STACK_MAX 4096
#define N_REGS 27
#define FLAGS_HIDDEN 0x10100ull /* RF and TF: the kernel and tracers set them */
/* Loads that lie this close together are fetched as one range. */
#define CLOSE 256

/* How many words an operation takes from the stack and leaves on it. */
static const struct {
    uint8_t takes, leaves;
} effects[COP_COUNT] = {
    [COP_CONST] = {0, 1},       [COP_REG] = {0, 1},        [COP_HITS] = {0, 1},
    [COP_LOAD] = {1, 1},        [COP_NEG] = {1, 1},        [COP_NOT] = {1, 1},
    [COP_LNOT] = {1, 1},        [COP_BOOL] = {1, 1},       [COP_ADD] = {2, 1},
    [COP_SUB] = {2, 1},         [COP_MUL] = {2, 1},        [COP_UDIV] = {2, 1},
    [COP_SDIV] = {2, 1},        [COP_UREM] = {2, 1},       [COP_SREM] = {2, 1},
    [COP_AND] = {2, 1},         [COP_OR] = {2, 1},         [COP_XOR] = {2, 1},
    [COP_SHL] = {2, 1},         [COP_LSHR] = {2, 1},       [COP_ASHR] = {2, 1},
    [COP_EQ] = {2, 1},          [COP_NE] = {2, 1},         [COP_ULT] = {2, 1},
    [COP_ULE] = {2, 1},         [COP_SLT] = {2, 1},        [COP_SLE] = {2, 1},
    [COP_JUMP] = {0, 0},        [COP_BRANCH_FALSE] = {1, 0}, [COP_BRANCH_TRUE] = {1, 0},
    [COP_JUMP_FALSE] = {1, 0},  [COP_JUMP_TRUE] = {1, 0},
};

static bool is_jump(uint32_t opcode)
{
    return opcode >= COP_JUMP;
}

/* Follows the depth of the stack through the code. Jumps go forwards only, so
 * one pass sees every way. The code must not over- or underflow the stack, must
 * agree on the depth where ways meet, and must leave one word. */
static int verify(const struct cond *c)
{
    int rc = -EINVAL, *depth = malloc((c->n_ops + 1) * sizeof *depth);

    if (!depth)
        return -ENOMEM;
    for (unsigned i = 0; i <= c->n_ops; i++)
        depth[i] = -1;
    depth[0] = 0;
    for (unsigned i = 0; i < c->n_ops; i++) {
        const struct cond_op *op = &c->ops[i];
        int now = depth[i], after;

        if (now < 0 || op->opcode >= COP_COUNT || now < effects[op->opcode].takes)
            goto out;
        after = now - effects[op->opcode].takes + effects[op->opcode].leaves;
        if (after > (int)c->depth)
            goto out;
        if (is_jump(op->opcode)) {
            int there = op->opcode >= COP_JUMP_FALSE ? now : after;

            if (op->operand <= i || op->operand > c->n_ops)
                goto out;
            if (depth[op->operand] >= 0 && depth[op->operand] != there)
                goto out;
            depth[op->operand] = there;
            if (op->opcode == COP_JUMP)
                continue;
        }
        if (op->opcode == COP_REG && op->operand >= N_REGS)
            goto out;
        if (op->opcode == COP_LOAD) {
            uint64_t size = (int64_t)op->operand < 0 ? -op->operand : op->operand;

            if (size != 1 && size != 2 && size != 4 && size != 8)
                goto out;
        }
        if (depth[i + 1] >= 0 && depth[i + 1] != after)
            goto out;
        depth[i + 1] = after;
    }
    if (depth[c->n_ops] == 1)
        rc = 0;
out:
    free(depth);
    return rc;
}

/* Whether a jump leads to an instruction from `first` to `last`. */
static bool is_target(const struct cond *c, unsigned first, unsigned last)
{
    for (unsigned i = 0; i < last; i++)
        if (is_jump(c->ops[i].opcode) && c->ops[i].operand >= first && c->ops[i].operand <= last)
            return true;
    return false;
}

/* Finds the loads whose address is a register, a constant or their sum: what
 * precedes the load is its address if no jump leads between. */
static void find_known(struct cond *c)
{
    for (unsigned i = 1; i < c->n_ops && c->n_known < COND_KNOWN_MAX; i++) {
        struct cond_op *op = &c->ops[i];
        struct cond_known k = {.reg = 0xff};
        const struct cond_op *a = op - 1;
        unsigned first = i;

        if (op->opcode != COP_LOAD)
            continue;
        k.size = (uint8_t)((int64_t)op->operand < 0 ? -op->operand : op->operand);
        if (a->opcode == COP_REG) {
            k.reg = (uint8_t)a->operand;
        } else if (a->opcode == COP_CONST) {
            k.add = a->operand;
        } else if (i >= 3 && (a->opcode == COP_ADD || a->opcode == COP_SUB) &&
                   a[-2].opcode == COP_REG && a[-1].opcode == COP_CONST) {
            k.reg = (uint8_t)a[-2].operand;
            k.add = a->opcode == COP_ADD ? a[-1].operand : -a[-1].operand;
            first = i - 2;
        } else {
            continue;
        }
        if (is_target(c, first, i) || k.reg == R_EFLAGS)
            continue;
        c->known[c->n_known++] = k;
        op->known = c->n_known;
    }
}

int cond_create(const void *code, size_t len, unsigned max_depth, struct cond **ret)
{
    size_t n = len / sizeof(struct cond_op);
    struct cond *c;
    int rc;

    if (len % sizeof(struct cond_op) || !n || n > 1u << 20 || max_depth < 1 ||
        max_depth > STACK_MAX)
        return -EINVAL;
    c = calloc(1, sizeof *c + n * sizeof *c->ops);
    if (!c)
        return -ENOMEM;
    c->n_ops = (unsigned)n;
    c->depth = max_depth;
    memcpy(c->ops, code, len);
    for (size_t i = 0; i < n; i++)
        c->ops[i].known = 0;
    rc = verify(c);
    if (rc) {
        cond_destroy(c);
        return rc;
    }
    find_known(c);
    *ret = c;
    return 0;
}

void cond_destroy(struct cond *c)
{
    free(c);
}

void overlay_apply(const struct overlay *o, uint64_t addr, uint8_t *bytes, size_t len)
{
    size_t low = 0, high;

    if (!o || !o->count || addr > o->addrs[o->count - 1] || addr + len <= o->addrs[0])
        return;
    high = o->count;
    while (low < high) {
        size_t middle = (low + high) / 2;

        if (o->addrs[middle] < addr)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < o->count && o->addrs[low] < addr + len; low++)
        bytes[o->addrs[low] - addr] = o->bytes[low];
}

/* process_vm_readv, because it reads what the program itself may read;
 * /proc/PID/mem goes through PROT_NONE too. */
int cond_read(const struct cond_memory *m, uint64_t addr, void *to, size_t len)
{
    struct iovec local = {to, len}, remote = {(void *)addr, len};
    ssize_t n;

    if (addr + len < addr && addr + len != 0)
        return -EFAULT;
    n = process_vm_readv(m->pid, &local, 1, &remote, 1, 0);
    if (n < 0)
        return errno == ESRCH ? -ESRCH : -EFAULT;
    if ((size_t)n < len)
        return -EFAULT;
    overlay_apply(m->overlay, addr, to, len);
    return 0;
}

/* What was fetched ahead, one entry a known load. */
struct fetched {
    bool valid[COND_KNOWN_MAX];
    uint8_t bytes[COND_KNOWN_MAX][8];
};

static uint64_t known_address(const struct cond_known *k, const uint64_t *regs)
{
    return k->add + (k->reg == 0xff ? 0 : regs[k->reg]);
}

/* Fetches the known loads from `first` on. Those that fail stay invalid: if they
 * are evaluated at all, they are read by themselves, and fail then. */
static void fetch(const struct cond *c, unsigned first, const uint64_t *regs,
                  const struct cond_memory *m, struct fetched *f)
{
    uint64_t low = ~0ull, high = 0, end;
    struct iovec local[COND_KNOWN_MAX], remote[COND_KNOWN_MAX];
    unsigned count = c->n_known - first;
    ssize_t n;

    for (unsigned i = first; i < c->n_known; i++) {
        uint64_t at = known_address(&c->known[i], regs);

        end = at + c->known[i].size;
        if (end < at)
            return;
        if (at < low)
            low = at;
        if (end > high)
            high = end;
    }
    if (high - low <= CLOSE) {
        uint8_t range[CLOSE];

        if (cond_read(m, low, range, high - low) == 0) {
            for (unsigned i = first; i < c->n_known; i++) {
                memcpy(f->bytes[i], range + (known_address(&c->known[i], regs) - low),
                       c->known[i].size);
                f->valid[i] = true;
            }
            return;
        }
    }
    for (unsigned i = 0; i < count; i++) {
        local[i].iov_base = f->bytes[first + i];
        local[i].iov_len = remote[i].iov_len = c->known[first + i].size;
        remote[i].iov_base = (void *)known_address(&c->known[first + i], regs);
    }
    n = process_vm_readv(m->pid, local, count, remote, count, 0);
    for (unsigned i = 0; n > 0 && i < count && local[i].iov_len <= (size_t)n; i++) {
        n -= (ssize_t)local[i].iov_len;
        f->valid[first + i] = true;
        overlay_apply(m->overlay, (uint64_t)remote[i].iov_base, f->bytes[first + i],
                      local[i].iov_len);
    }
}

static uint64_t extended(const uint8_t *bytes, uint64_t operand)
{
    uint64_t v = 0;

    switch ((int64_t)operand) {
    case 1:
        return bytes[0];
    case -1:
        return (uint64_t)(int64_t)(int8_t)bytes[0];
    case 2:
    case -2: {
        uint16_t w;

        memcpy(&w, bytes, sizeof w);
        return (int64_t)operand < 0 ? (uint64_t)(int64_t)(int16_t)w : w;
    }
    case 4:
    case -4: {
        uint32_t w;

        memcpy(&w, bytes, sizeof w);
        return (int64_t)operand < 0 ? (uint64_t)(int64_t)(int32_t)w : w;
    }
    default:
        memcpy(&v, bytes, sizeof v);
        return v;
    }
}

static int load(const struct cond *c, const struct cond_op *op, uint64_t addr,
                const uint64_t *regs, const struct cond_memory *m, struct fetched *f,
                bool *fetched_any, uint64_t *ret)
{
    size_t size = (size_t)((int64_t)op->operand < 0 ? -op->operand : op->operand);
    uint8_t bytes[8];
    int rc;

    if (op->known && c->n_known > 1) {
        unsigned number = op->known - 1;

        if (!*fetched_any) {
            memset(f->valid, 0, sizeof f->valid);
            fetch(c, number, regs, m, f);
            *fetched_any = true;
        }
        if (f->valid[number]) {
            *ret = extended(f->bytes[number], op->operand);
            return 0;
        }
    }
    rc = cond_read(m, addr, bytes, size);
    if (rc == 0)
        *ret = extended(bytes, op->operand);
    return rc;
}

static int divide(uint32_t opcode, uint64_t a, uint64_t b, uint64_t *ret)
{
    int64_t x = (int64_t)a, y = (int64_t)b;

    if (!b)
        return -EDOM;
    switch (opcode) {
    case COP_UDIV:
        *ret = a / b;
        break;
    case COP_UREM:
        *ret = a % b;
        break;
    case COP_SDIV:
        *ret = y == -1 ? 0 - a : (uint64_t)(x / y); /* INT64_MIN / -1 would trap */
        break;
    default:
        *ret = y == -1 ? 0 : (uint64_t)(x % y);
    }
    return 0;
}

int cond_value(const struct cond *c, const uint64_t *regs, uint64_t hits,
               const struct cond_memory *m, uint64_t *ret_value, uint64_t *ret_fault)
{
    uint64_t stack[c->depth], *top = stack - 1;
    struct fetched f;
    bool fetched_any = false;
    int rc;

    for (unsigned i = 0; i < c->n_ops; i++) {
        const struct cond_op *op = &c->ops[i];
        uint64_t a, b;

        switch (op->opcode) {
        case COP_CONST:
            *++top = op->operand;
            continue;
        case COP_REG:
            *++top = regs[op->operand];
            if (op->operand == R_EFLAGS)
                *top &= ~FLAGS_HIDDEN;
            continue;
        case COP_HITS:
            *++top = hits;
            continue;
        case COP_LOAD:
            rc = load(c, op, *top, regs, m, &f, &fetched_any, &a);
            if (rc) {
                *ret_fault = *top;
                return rc;
            }
            *top = a;
            continue;
        case COP_NEG:
            *top = 0 - *top;
            continue;
        case COP_NOT:
            *top = ~*top;
            continue;
        case COP_LNOT:
            *top = !*top;
            continue;
        case COP_BOOL:
            *top = !!*top;
            continue;
        case COP_JUMP:
            i = (unsigned)op->operand - 1;
            continue;
        case COP_BRANCH_FALSE:
        case COP_BRANCH_TRUE:
            if (!!*top-- == (op->opcode == COP_BRANCH_TRUE))
                i = (unsigned)op->operand - 1;
            continue;
        case COP_JUMP_FALSE:
        case COP_JUMP_TRUE:
            if (!!*top == (op->opcode == COP_JUMP_TRUE)) {
                *top = !!*top;
                i = (unsigned)op->operand - 1;
            } else {
                top--;
            }
            continue;
        }
        b = *top--;
        a = *top;
        switch (op->opcode) {
        case COP_ADD:
            a += b;
            break;
        case COP_SUB:
            a -= b;
            break;
        case COP_MUL:
            a *= b;
            break;
        case COP_UDIV:
        case COP_SDIV:
        case COP_UREM:
        case COP_SREM:
            rc = divide(op->opcode, a, b, &a);
            if (rc)
                return rc;
            break;
        case COP_AND:
            a &= b;
            break;
        case COP_OR:
            a |= b;
            break;
        case COP_XOR:
            a ^= b;
            break;
        case COP_SHL:
            a = b < 64 ? a << b : 0;
            break;
        case COP_LSHR:
            a = b < 64 ? a >> b : 0;
            break;
        case COP_ASHR:
            a = (uint64_t)((int64_t)a >> (b < 64 ? b : 63));
            break;
        case COP_EQ:
            a = a == b;
            break;
        case COP_NE:
            a = a != b;
            break;
        case COP_ULT:
            a = a < b;
            break;
        case COP_ULE:
            a = a <= b;
            break;
        case COP_SLT:
            a = (int64_t)a < (int64_t)b;
            break;
        case COP_SLE:
            a = (int64_t)a <= (int64_t)b;
            break;
        }
        *top = a;
    }
    *ret_value = *top;
    return 0;
}
