/* A call that may sleep writes to scratch memory, and the program's own memory
 * changes all at once when the call has ended.
 *
 * Every block that the kernel may write gets a 16-byte aligned place in scratch
 * and a span that tells where it belongs.  iovec arrays and msghdrs are placed
 * too, pointing at the places of their buffers.  Afterwards params_out describes
 * what was written to scratch, and each of its items is moved along its span;
 * items are single fields where the kernel writes single fields, so that the
 * pointers in the program's msghdr stay as they are.
 *
 * What the program would see is kept the same to the byte:
 *  - Blocks whose written size does not follow from the result (fixed size, sized
 *    by an argument, control data with its padding) start as a copy of the
 *    program's, since the kernel may leave some of it untouched.
 *  - Arrays in which the kernel fills in fields (ARG_INOUT sized by an argument:
 *    poll's revents) are merged: only bytes that changed in scratch are written.
 *    Another task may have edited the others while the call slept.
 *  - A block that is not mapped at its first or last byte makes the call go
 *    unredirected: where the kernel fails with EFAULT or writes less, it does so
 *    by itself.
 *
 * Behind what params_entry_take saved for the scratch arguments, entry.saved holds
 * for each merged block: u64 scratch | u64 len | its bytes before the call, and in
 * its last 8 bytes the offset where these start. */
#include "params_internal.h"

#include <errno.h>

#define ALIGN 16

struct layout {
    const struct mem *m;
    uint64_t scratch, size;
    uint64_t used; /* may run past size: then only counting goes on */
    struct buf *map;
};

static bool fits(const struct layout *l)
{
    return l->used <= l->size;
}

/* A place for `len` bytes that the program has at `real` (0: nowhere). */
static int place(struct layout *l, uint64_t real, uint64_t len, uint64_t *ret)
{
    uint64_t pad = -(l->scratch + l->used) % ALIGN;
    struct params_span span = {.real = real, .scratch = l->scratch + l->used + pad, .len = len};

    l->used += pad + len;
    *ret = span.scratch;
    return real && len ? buf_put(l->map, &span, sizeof span) : 0;
}

static int fill(const struct layout *l, uint64_t to, const void *from, size_t len)
{
    return fits(l) && len ? mem_write(l->m, to, from, len) : 0;
}

/* As `place`, with the program's bytes copied there; they end up in `copy` too. */
static int place_copy(struct layout *l, uint64_t real, uint64_t len, struct buf *copy,
                      uint64_t *ret)
{
    uint64_t got;

    int rc = place(l, real, len, ret);
    if (rc || !fits(l))
        return rc;
    size_t at = copy->len;
    if ((rc = params_append(l->m, real, len, copy, &got)) != 0)
        return rc;
    return got < len ? -EFAULT : fill(l, *ret, copy->data + at, len);
}

/* As `place`, for a block that the kernel only writes. */
static int place_out(struct layout *l, uint64_t real, uint64_t len, uint64_t *ret)
{
    uint8_t byte;

    int rc = place(l, real, len, ret);
    if (rc || len == 0)
        return rc;
    rc = mem_read(l->m, real, &byte, 1);
    if (rc == 0 && len > 1 && real / 4096 != (real + len - 1) / 4096)
        rc = mem_read(l->m, real + len - 1, &byte, 1);
    return rc;
}

static int place_iov(struct layout *l, uint64_t addr, uint64_t count, uint64_t *ret)
{
    struct params_iov iov[PARAMS_MAX_IOV];
    uint64_t left = PARAMS_MAX_BLOCK;
    uint32_t n;

    size_t got = params_read_iov(l->m, addr, count, iov, &n);
    if (count > PARAMS_MAX_IOV || got < count * sizeof *iov)
        return -EFAULT; /* the kernel refuses it */
    int rc = place(l, 0, got, ret);
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        if (iov[i].len > INT64_MAX)
            return -EFAULT; /* EINVAL, readv(2) */
        iov[i].len = params_min(iov[i].len, left);
        left -= iov[i].len;
        rc = place_out(l, iov[i].base, iov[i].len, &iov[i].base);
    }
    return rc ? rc : fill(l, *ret, iov, got);
}

/* The msghdr is at `at` in scratch; what it points at is placed and it is rewritten. */
static int place_message_parts(struct layout *l, struct params_msghdr *h, struct buf *copy,
                               uint64_t at)
{
    int rc = 0;

    if (h->namelen > INT32_MAX)
        return -EFAULT; /* EINVAL, recvmsg(2) */
    if (h->name)
        rc = place_out(l, h->name, params_min(h->namelen, PARAMS_MAX_NAME), &h->name);
    if (rc == 0)
        rc = place_iov(l, h->iov, h->iovlen, &h->iov);
    if (rc == 0 && h->control) {
        h->controllen = params_min(h->controllen, PARAMS_MAX_BLOCK);
        rc = place_copy(l, h->control, h->controllen, copy, &h->control);
        buf_clear(copy);
    }
    return rc ? rc : fill(l, at, h, sizeof *h);
}

static int place_message(struct layout *l, uint64_t addr, struct buf *copy, uint64_t *ret)
{
    struct params_msghdr h;

    int rc = mem_read(l->m, addr, &h, sizeof h);
    if (rc == 0)
        rc = place(l, addr, sizeof h, ret);
    return rc ? rc : place_message_parts(l, &h, copy, *ret);
}

static int place_messages(struct layout *l, uint64_t addr, uint64_t count, struct buf *copy,
                          uint64_t *ret)
{
    struct params_mmsghdr h;
    uint32_t n = params_vlen(count);

    int rc = place_copy(l, addr, n * sizeof h, copy, ret);
    buf_clear(copy);
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        rc = mem_read(l->m, addr + i * sizeof h, &h, sizeof h);
        if (rc == 0)
            rc = place_message_parts(l, &h.hdr, copy, *ret + i * sizeof h);
    }
    return rc;
}

static bool merged(const struct arg_desc *a)
{
    return a->kind == ARG_INOUT && a->rule == SIZE_ARG;
}

static int place_block(struct layout *l, const struct arg_desc *a, unsigned i,
                       const uint64_t args[CALL_MAX_ARGS], struct buf *copy, struct buf *merge,
                       uint64_t *ret)
{
    uint64_t before = 0, at;
    bool sized_by_result = a->rule == SIZE_RET || a->rule == SIZE_RET_MIN ||
                           a->rule == SIZE_PTR32 || a->rule == SIZE_PTR64;

    params_before(a, i, args, l->m, &before);
    uint64_t len = params_capacity(a, args, before);
    if (len == 0)
        return 0;
    if (a->kind == ARG_OUT && sized_by_result)
        return place_out(l, args[i], len, ret);
    if (!merged(a)) {
        int rc = place_copy(l, args[i], len, copy, ret);
        buf_clear(copy);
        return rc;
    }
    size_t head = merge->len;
    int rc = buf_put_u64(merge, 0);
    if (rc == 0)
        rc = buf_put_u64(merge, len);
    if (rc == 0)
        rc = place_copy(l, args[i], len, merge, &at);
    if (rc == 0) {
        memcpy(merge->data + head, &at, sizeof at);
        *ret = at;
    }
    return rc;
}

static int lay_out(const struct call_desc *d, const uint64_t args[CALL_MAX_ARGS],
                   struct layout *l, struct params_redirect *r, struct buf *copy,
                   struct buf *merge)
{
    int rc = 0;

    for (unsigned i = 0; i < d->nargs && rc == 0; i++) {
        const struct arg_desc *a = &d->arg[i];

        if (args[i] == 0 || (a->flags & ARGF_FUTEX_WORD))
            continue;
        switch ((enum arg_kind)a->kind) {
        case ARG_OUT:
        case ARG_INOUT:
            rc = place_block(l, a, i, args, copy, merge, &r->args[i]);
            break;
        case ARG_IOV_OUT:
            if (args[a->size_arg])
                rc = place_iov(l, args[i], args[a->size_arg], &r->args[i]);
            break;
        case ARG_MSG_OUT:
            rc = place_message(l, args[i], copy, &r->args[i]);
            break;
        case ARG_MMSG_OUT:
            if (params_vlen(args[a->size_arg]))
                rc = place_messages(l, args[i], args[a->size_arg], copy, &r->args[i]);
            break;
        case ARG_MMSG_IN: /* msg_len is written as messages go out */
            if (params_vlen(args[a->size_arg])) {
                rc = place_copy(l, args[i],
                                params_vlen(args[a->size_arg]) * sizeof(struct params_mmsghdr),
                                copy, &r->args[i]);
                buf_clear(copy);
            }
            break;
        default:
            break;
        }
    }
    return rc;
}

int params_redirect_make(const struct call_desc *d, const uint64_t args[CALL_MAX_ARGS],
                         const struct mem *m, uint64_t scratch, uint64_t size, uint64_t *ret_need,
                         struct params_redirect *ret)
{
    struct layout l = {.m = m, .scratch = scratch, .size = size, .map = &ret->map};
    struct buf copy = {0}, merge = {0};

    *ret_need = 0;
    ret->active = 0;
    memcpy(ret->args, args, sizeof ret->args);
    buf_clear(&ret->map);
    int rc = lay_out(d, args, &l, ret, &copy, &merge);
    if (rc == 0 && !fits(&l)) {
        *ret_need = l.used;
        rc = -ENOSPC;
    }
    if (rc == 0)
        rc = params_entry_take(d, ret->args, m, &ret->entry);
    if (rc == 0) {
        uint64_t at = ret->entry.saved.len;
        ret->active = ret->map.len > 0;
        rc = buf_put(&ret->entry.saved, merge.data, merge.len);
        if (rc == 0)
            rc = buf_put_u64(&ret->entry.saved, at);
    }
    if (rc) {
        ret->active = 0;
        memcpy(ret->args, args, sizeof ret->args);
        if (rc == -ESRCH) /* killed at this moment: the call will not be made */
            rc = -EFAULT;
    }
    buf_free(&copy);
    buf_free(&merge);
    return rc;
}

/* The span that holds the scratch address; they are in the order of scratch. */
static const struct params_span *span_of(const struct params_redirect *r, uint64_t addr)
{
    const struct params_span *spans = (const struct params_span *)(const void *)r->map.data;
    size_t low = 0, high = r->map.len / sizeof *spans;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (addr - spans[mid].scratch < spans[mid].len)
            return &spans[mid];
        if (addr < spans[mid].scratch)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

/* The bytes before the call of the merged block at `scratch`, or NULL. */
static uint8_t *before_of(struct params_redirect *r, uint64_t scratch, uint64_t len)
{
    struct buf *saved = &r->entry.saved;
    uint64_t at, head[2];

    if (saved->len < sizeof at)
        return NULL;
    size_t end = saved->len - sizeof at;
    memcpy(&at, saved->data + end, sizeof at);
    while (at + sizeof head <= end) {
        memcpy(head, saved->data + at, sizeof head);
        at += sizeof head;
        if (head[0] == scratch)
            return len <= head[1] ? saved->data + at : NULL;
        at += head[1];
    }
    return NULL;
}

/* Writes the bytes that differ from `before`, and lets `bytes` and `before` become
 * what the program's memory and scratch hold now. */
static int write_changes(const struct mem *m, uint64_t real, uint8_t *bytes, uint8_t *before,
                         size_t len)
{
    int rc = 0;

    for (size_t i = 0; i < len && rc == 0;) {
        size_t n = 0;
        while (i + n < len && bytes[i + n] != before[i + n])
            n++;
        if (n)
            rc = mem_write(m, real + i, bytes + i, n);
        i += n + (n == 0);
    }
    memcpy(before, bytes, len);
    return rc ? rc : mem_read(m, real, bytes, len);
}

int params_redirect_finish(const struct call_desc *d, struct params_redirect *r, int64_t result,
                           const struct mem *m, struct buf *ret)
{
    size_t from = ret->len, to = from;
    bool lost = false;

    int rc = params_out(d, &r->entry, result, m, ret);
    while (rc == 0 && from < ret->len) {
        uint8_t *item = ret->data + to, *bytes = item + 12;
        uint64_t addr;
        uint32_t len;

        memcpy(&addr, ret->data + from, sizeof addr);
        memcpy(&len, ret->data + from + 8, sizeof len);
        memmove(item, ret->data + from, 12 + len); /* items before it may have got shorter */
        from += 12 + len;

        const struct params_span *s = span_of(r, addr);
        if (s) {
            uint64_t real = s->real + (addr - s->scratch);
            uint8_t *before = before_of(r, addr, len);
            rc = before ? write_changes(m, real, bytes, before, len)
                        : mem_write(m, real, bytes, len);
            if (rc == -EFAULT || rc == -ESRCH) { /* unmapped while the call slept: keep what is there */
                len = (uint32_t)mem_read_some(m, real, bytes, len);
                lost = true;
                rc = 0;
            }
            memcpy(item, &real, sizeof real);
            memcpy(item + 8, &len, sizeof len);
        }
        to += len ? 12 + len : 0;
    }
    ret->len = to;
    return rc ? rc : lost ? -EFAULT : 0;
}

void params_redirect_free(struct params_redirect *r)
{
    params_entry_free(&r->entry);
    buf_free(&r->map);
    r->active = 0;
}
