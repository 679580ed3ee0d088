/* What a call wrote into the memory of the program, as an output blob (params.h).
 *
 * What was taken at entry (params_entry.saved), one record for each such argument
 * in the order of the arguments:
 *   iovec array   u64 n | n struct iovec
 *   msghdr        struct msghdr (zeros when unreadable) | its iovec array as above
 *   messages      u64 n | n times a msghdr as above
 */
#include "params_internal.h"

#include <errno.h>

/* --- before the call ------------------------------------------------------ */

static int save_iov(struct buf *saved, const struct mem *m, uint64_t addr, uint64_t count)
{
    struct params_iov iov[PARAMS_MAX_IOV];
    uint32_t n;

    params_read_iov(m, addr, count, iov, &n);
    int rc = buf_put_u64(saved, n);
    return rc ? rc : buf_put(saved, iov, n * sizeof *iov);
}

static int save_message(struct buf *saved, const struct mem *m, uint64_t addr)
{
    struct params_msghdr h;

    if (addr == 0 || mem_read(m, addr, &h, sizeof h) != 0)
        memset(&h, 0, sizeof h);
    int rc = buf_put(saved, &h, sizeof h);
    return rc ? rc : save_iov(saved, m, h.iov, h.iovlen);
}

static int save_messages(struct buf *saved, const struct mem *m, uint64_t addr, uint64_t count)
{
    uint64_t n = addr ? params_vlen(count) : 0;

    int rc = buf_put_u64(saved, n);
    for (uint64_t i = 0; rc == 0 && i < n; i++)
        rc = save_message(saved, m, addr + i * sizeof(struct params_mmsghdr));
    return rc;
}

int params_entry_take(const struct call_desc *d, const uint64_t args[CALL_MAX_ARGS],
                      const struct mem *m, struct params_entry *ret)
{
    int rc = 0;

    memcpy(ret->args, args, sizeof ret->args);
    memset(ret->before, 0, sizeof ret->before);
    buf_clear(&ret->saved);
    for (unsigned i = 0; i < d->nargs && rc == 0; i++) {
        const struct arg_desc *a = &d->arg[i];

        if (a->kind == ARG_OUT || a->kind == ARG_INOUT)
            params_before(a, i, args, m, &ret->before[i]);
        else if (a->kind == ARG_IOV_OUT)
            rc = save_iov(&ret->saved, m, args[i], args[a->size_arg]);
        else if (a->kind == ARG_MSG_OUT)
            rc = save_message(&ret->saved, m, args[i]);
        else if (a->kind == ARG_MMSG_OUT)
            rc = save_messages(&ret->saved, m, args[i], args[a->size_arg]);
    }
    return rc;
}

void params_entry_free(struct params_entry *e)
{
    buf_free(&e->saved);
}

/* --- after it ------------------------------------------------------------- */

struct cursor {
    const uint8_t *at, *end;
};

/* The next `len` bytes, or zeros when nothing was taken at entry. */
static void take(struct cursor *c, void *to, size_t len)
{
    if ((size_t)(c->end - c->at) < len) {
        memset(to, 0, len);
        c->at = c->end;
    } else {
        memcpy(to, c->at, len);
        c->at += len;
    }
}

/* The ERESTART codes are the kernel's own (include/linux/errno.h); a ptrace stop
 * shows them at the exit of an interrupted call. */
static bool interrupted(int64_t result)
{
    return result == -EINTR || (result <= -512 && result >= -514) || result == -516;
}

static bool no_space(int64_t result)
{
    return result == -ENOSPC || result == -E2BIG || result == -EOVERFLOW || result == -ERANGE;
}

static bool written(const struct arg_desc *a, int64_t result)
{
    if (a->flags & (ARGF_EVEN_ON_ERROR | ARGF_FUTEX_WORD))
        return true;
    if (a->flags & ARGF_ONLY_ON_EINTR)
        return interrupted(result);
    if (params_failed(result))
        return (a->flags & ARGF_ON_ENOSPC) && no_space(result);
    return !(a->flags & ARGF_RET_NONZERO) || result > 0;
}

static uint64_t size_after(const struct arg_desc *a, const struct params_entry *e, unsigned i,
                           int64_t result, const struct mem *m)
{
    uint64_t capacity = params_capacity(a, e->args, e->before[i]), after = 0;
    uint64_t count = params_failed(result) ? 0 : (uint64_t)result;

    switch ((enum size_rule)a->rule) {
    case SIZE_RET:
        return params_min(params_times(a->elem, count), capacity);
    case SIZE_RET_MIN:
        return params_min(count, capacity);
    case SIZE_PTR32:
    case SIZE_PTR64:
        params_before(a, i, e->args, m, &after);
        return params_min(after, capacity);
    default:
        return capacity;
    }
}

/* One item, as much of it as can be read; nothing for nothing. */
static int put_item(struct buf *ret, const struct mem *m, uint64_t addr, uint64_t len)
{
    uint64_t got;
    size_t head = ret->len;

    if (addr == 0 || len == 0)
        return 0;
    int rc = buf_reserve(ret, 12 + params_min(len, PARAMS_PIECE));
    if (rc)
        return rc;
    ret->len += 12;
    if ((rc = params_append(m, addr, len, ret, &got)) != 0)
        return rc;
    if (got == 0) {
        ret->len = head;
    } else {
        uint32_t got32 = (uint32_t)got;
        memcpy(ret->data + head, &addr, sizeof addr);
        memcpy(ret->data + head + 8, &got32, sizeof got32);
    }
    return 0;
}

/* The first `bytes` of what the iovec array holds; always passes over the record. */
static int put_iov(struct buf *ret, const struct mem *m, struct cursor *c, uint64_t bytes)
{
    uint64_t n, left = params_min(bytes, PARAMS_MAX_BLOCK);
    int rc = 0;

    take(c, &n, sizeof n);
    for (uint64_t i = 0; i < n && rc == 0; i++) {
        struct params_iov v;
        take(c, &v, sizeof v);
        uint64_t len = params_min(v.len, left);
        rc = put_item(ret, m, v.base, len);
        left -= len;
    }
    return rc;
}

/* One received message. The kernel writes the data first, then the control data,
 * the name, and the fields of the struct (net/socket.c, ____sys_recvmsg): the
 * same order here, should the program let them overlap. */
static int put_message(struct buf *ret, const struct mem *m, struct cursor *c, uint64_t addr,
                       uint64_t bytes, bool got_one)
{
    struct params_msghdr before, after;

    take(c, &before, sizeof before);
    if (!got_one || addr == 0 || mem_read(m, addr, &after, sizeof after) != 0)
        return put_iov(ret, m, c, 0);

    int rc = put_iov(ret, m, c, bytes);
    if (rc == 0)
        rc = put_item(ret, m, before.control,
                      params_min(params_min(before.controllen, after.controllen),
                                 PARAMS_MAX_BLOCK));
    if (rc == 0 && before.name) {
        uint64_t namelen = params_min(before.namelen, after.namelen);
        rc = put_item(ret, m, before.name, params_min(namelen, PARAMS_MAX_NAME));
        if (rc == 0)
            rc = put_item(ret, m, addr + MSG_NAMELEN_AT, 4);
    }
    return rc ? rc : put_item(ret, m, addr + MSG_CONTROLLEN_AT, 12);
}

static int put_messages(struct buf *ret, const struct mem *m, struct cursor *c, uint64_t addr,
                        int64_t result)
{
    uint64_t n;
    int rc = 0;

    take(c, &n, sizeof n);
    for (uint64_t i = 0; i < n && rc == 0; i++) {
        uint64_t at = addr + i * sizeof(struct params_mmsghdr);
        uint32_t bytes = 0;
        bool got_one = result > 0 && i < (uint64_t)result;

        if (got_one && mem_read(m, at + MMSG_LEN_AT, &bytes, sizeof bytes) != 0)
            got_one = false;
        rc = put_message(ret, m, c, at, bytes, got_one);
        if (rc == 0 && got_one)
            rc = put_item(ret, m, at + MMSG_LEN_AT, 4);
    }
    return rc;
}

static int put_sent_lengths(struct buf *ret, const struct mem *m, uint64_t addr, uint64_t count,
                            int64_t result)
{
    uint64_t n = result > 0 ? params_min((uint64_t)result, params_vlen(count)) : 0;
    int rc = 0;

    for (uint64_t i = 0; addr && i < n && rc == 0; i++)
        rc = put_item(ret, m, addr + i * sizeof(struct params_mmsghdr) + MMSG_LEN_AT, 4);
    return rc;
}

int params_out(const struct call_desc *d, const struct params_entry *e, int64_t result,
               const struct mem *m, struct buf *ret)
{
    struct cursor c = {e->saved.data, e->saved.data + e->saved.len};
    int rc = 0;

    for (unsigned i = 0; i < d->nargs && rc == 0; i++) {
        const struct arg_desc *a = &d->arg[i];
        uint64_t addr = e->args[i];
        uint64_t bytes = params_failed(result) ? 0 : (uint64_t)result;

        switch ((enum arg_kind)a->kind) {
        case ARG_OUT:
        case ARG_INOUT:
            if (addr && written(a, result))
                rc = put_item(ret, m, addr, size_after(a, e, i, result, m));
            break;
        case ARG_IOV_OUT:
            rc = put_iov(ret, m, &c, bytes);
            break;
        case ARG_MSG_OUT:
            rc = put_message(ret, m, &c, addr, bytes, !params_failed(result));
            break;
        case ARG_MMSG_OUT:
            rc = put_messages(ret, m, &c, addr, result);
            break;
        case ARG_MMSG_IN:
            rc = put_sent_lengths(ret, m, addr, e->args[a->size_arg], result);
            break;
        default:
            break;
        }
    }
    return rc;
}

/* What the kernel left alone is logged as the program had it. */
#define FAULT_MAX ((uint64_t)1 << 20)

int params_out_faulted(const struct call_desc *d, const struct params_entry *e,
                       const struct mem *m, struct buf *ret)
{
    int rc = 0;

    for (unsigned i = 0; i < d->nargs && rc == 0; i++) {
        const struct arg_desc *a = &d->arg[i];

        if ((a->kind == ARG_OUT || a->kind == ARG_INOUT) && !written(a, -EFAULT))
            rc = put_item(ret, m, e->args[i],
                          params_min(params_capacity(a, e->args, e->before[i]), FAULT_MAX));
    }
    return rc;
}

int params_apply(const uint8_t *blob, size_t len, const struct mem *m, uint64_t *ret_addr)
{
    *ret_addr = 0;
    while (len > 0) {
        uint64_t addr;
        uint32_t n;

        if (len < 12)
            return -EINVAL;
        memcpy(&addr, blob, sizeof addr);
        memcpy(&n, blob + 8, sizeof n);
        if (n > len - 12)
            return -EINVAL;
        int rc = mem_write(m, addr, blob + 12, n);
        if (rc) {
            *ret_addr = addr;
            return rc;
        }
        blob += 12 + n;
        len -= 12 + n;
    }
    return 0;
}
