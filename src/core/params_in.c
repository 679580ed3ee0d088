/* What the program hands to the kernel, as items of the input blob (params.h).
 *
 * Order: by argument; within one: the struct itself, for a msghdr its name, the
 * iovec array, the buffers one item each, the control data; for a vector of
 * messages the whole array first. A buffer counts at most what is left of the
 * 0x7ffff000 bytes that a call can transfer.
 *
 * The digest of a block of more than 1 MiB: digest64 of each successive piece of
 * 1 MiB (the last one may be shorter), with the digest so far as the seed,
 * starting from 0. Up to 1 MiB it is digest64(block, len, 0). */
#include "params_internal.h"

#include <errno.h>

#define ITEM_HEAD 8
#define PAGE 4096
/* Paths are bounded by PATH_MAX, one string of execve by MAX_ARG_STRLEN and all of
 * them by 6 MiB (execve(2), "Limits on size of arguments and environment"). */
#define MAX_STRING 4096
#define MAX_ARG_STRING (UINT64_C(32) * PAGE)
#define MAX_ARG_TOTAL (UINT64_C(6) << 20)
#define FIRST_LOOK 256

static void item_head(uint8_t *to, unsigned arg, unsigned what, uint64_t kept, uint64_t len)
{
    uint16_t kept16 = (uint16_t)kept;
    uint32_t len32 = (uint32_t)len;

    to[0] = (uint8_t)arg;
    to[1] = (uint8_t)what;
    memcpy(to + 2, &kept16, sizeof kept16);
    memcpy(to + 4, &len32, sizeof len32);
}

/* A finished item from bytes at hand. */
static int put_bytes(struct buf *ret, unsigned arg, unsigned what, const void *from, size_t len,
                     size_t keep)
{
    size_t kept = len < keep ? len : keep;
    int rc = buf_reserve(ret, ITEM_HEAD + 8 + kept);

    if (rc)
        return rc;
    item_head(ret->data + ret->len, arg, what, kept, len);
    ret->len += ITEM_HEAD;
    if (len > kept && (rc = buf_put_u64(ret, digest64(from, len, 0))) != 0)
        return rc;
    return buf_put(ret, from, kept);
}

/* A block of the program's memory, read straight into the blob. */
static int put_block(struct buf *ret, const struct mem *m, unsigned arg, uint64_t addr,
                     uint64_t len, size_t keep)
{
    if (addr == 0)
        return 0;
    if (len <= keep) { /* the hot path: one read, no digest */
        int rc = buf_reserve(ret, ITEM_HEAD + len);
        if (rc)
            return rc;
        uint8_t *item = ret->data + ret->len;
        size_t got = len ? mem_read_some(m, addr, item + ITEM_HEAD, len) : 0;
        item_head(item, arg, got < len ? IN_FAULT : IN_BLOCK, got, got);
        ret->len += ITEM_HEAD + got;
        return 0;
    }

    /* The first piece is read to where its kept bytes belong, later ones behind them. */
    size_t space = params_min(len, PARAMS_PIECE);
    int rc = buf_reserve(ret, ITEM_HEAD + 8 + keep + space);
    if (rc)
        return rc;
    uint8_t *item = ret->data + ret->len, *bytes = item + ITEM_HEAD + 8;
    uint64_t digest = 0, total = 0;
    while (total < len) {
        uint8_t *to = total == 0 ? bytes : bytes + keep;
        size_t want = params_min(len - total, space);
        size_t got = mem_read_some(m, addr + total, to, want);
        if (got > 0)
            digest = digest64(to, got, digest);
        total += got;
        if (got < want)
            break;
    }
    size_t kept = params_min(total, keep);
    item_head(item, arg, total < len ? IN_FAULT : IN_BLOCK, kept, total);
    if (total > kept) {
        memcpy(item + ITEM_HEAD, &digest, sizeof digest);
        ret->len += ITEM_HEAD + 8 + kept;
    } else {
        memmove(item + ITEM_HEAD, bytes, kept);
        ret->len += ITEM_HEAD + kept;
    }
    return 0;
}

/* A string of at most `limit` bytes, longer ones cut; *ret_len its length. The
 * reads never cross into a page that the string does not reach. */
static int put_string(struct buf *ret, const struct mem *m, unsigned arg, uint64_t addr,
                      size_t limit, size_t *ret_len)
{
    size_t len = 0, look = FIRST_LOOK;
    unsigned what = IN_STRING;

    *ret_len = 0;
    if (addr == 0)
        return 0;
    while (len < limit) {
        size_t page_left = PAGE - (addr + len) % PAGE;
        size_t want = look < page_left ? look : page_left;
        if (want > limit - len)
            want = limit - len;
        int rc = buf_reserve(ret, ITEM_HEAD + 8 + len + want);
        if (rc)
            return rc;
        uint8_t *to = ret->data + ret->len + ITEM_HEAD + len;
        size_t got = mem_read_some(m, addr + len, to, want);
        const uint8_t *end = memchr(to, 0, got);
        if (end) {
            len += (size_t)(end - to);
            break;
        }
        len += got;
        if (got < want) {
            what = IN_FAULT;
            break;
        }
        look = PAGE;
    }

    uint8_t *item = ret->data + ret->len, *bytes = item + ITEM_HEAD;
    size_t kept = len < IN_KEEP_STRING ? len : IN_KEEP_STRING;
    if (len > kept) {
        uint64_t digest = digest64(bytes, len, 0);
        memmove(bytes + 8, bytes, kept);
        memcpy(bytes, &digest, sizeof digest);
        ret->len += 8;
    }
    item_head(item, arg, what, kept, len);
    ret->len += ITEM_HEAD + kept;
    *ret_len = len;
    return 0;
}

/* The strings of a vector, one item each. A vector that ends in unreadable memory
 * ends with an empty IN_FAULT item. */
static int put_strings(struct buf *ret, const struct mem *m, unsigned arg, uint64_t addr)
{
    uint64_t words[FIRST_LOOK / 8], total = 0;

    if (addr == 0)
        return 0;
    for (;;) {
        /* a vector may be unaligned: a word across pages needs a look of at least 8 */
        size_t page_left = PAGE - addr % PAGE;
        size_t want = page_left < 8 ? 8 : page_left / 8 * 8;
        if (want > sizeof words)
            want = sizeof words;
        size_t n = mem_read_some(m, addr, words, want) / 8;
        for (size_t i = 0; i < n; i++) {
            size_t len;
            if (words[i] == 0)
                return 0;
            int rc = put_string(ret, m, arg, words[i], MAX_ARG_STRING, &len);
            if (rc)
                return rc;
            total += len + 1 + 8;
            if (total > MAX_ARG_TOTAL) /* execve fails: E2BIG */
                return 0;
        }
        if (n < want / 8)
            return put_bytes(ret, arg, IN_FAULT, "", 0, 0);
        addr += want;
    }
}

static int put_iov(struct buf *ret, const struct mem *m, unsigned arg, uint64_t addr,
                   uint64_t count, bool with_data)
{
    struct params_iov iov[PARAMS_MAX_IOV];
    uint32_t n;
    uint64_t left = PARAMS_MAX_BLOCK;

    if (addr == 0)
        return 0;
    size_t got = params_read_iov(m, addr, count, iov, &n);
    bool whole = got == params_min(count, PARAMS_MAX_IOV) * sizeof *iov;
    int rc = put_bytes(ret, arg, whole ? IN_BLOCK : IN_FAULT, iov, got, IN_KEEP_BLOCK);
    for (uint32_t i = 0; rc == 0 && with_data && i < n; i++) {
        uint64_t len = params_min(iov[i].len, left);
        rc = put_block(ret, m, arg, iov[i].base, len, IN_KEEP_BLOCK);
        left -= len;
    }
    return rc;
}

/* What a msghdr points at. */
static int put_message_parts(struct buf *ret, const struct mem *m, unsigned arg,
                             const struct params_msghdr *h, bool sent)
{
    int rc = 0;

    if (sent && h->namelen <= INT32_MAX) /* negative: EINVAL */
        rc = put_block(ret, m, arg, h->name, params_min(h->namelen, PARAMS_MAX_NAME),
                       IN_KEEP_BLOCK);
    if (rc == 0)
        rc = put_iov(ret, m, arg, h->iov, h->iovlen, sent);
    if (rc == 0 && sent)
        rc = put_block(ret, m, arg, h->control, params_min(h->controllen, PARAMS_MAX_BLOCK),
                       IN_KEEP_BLOCK);
    return rc;
}

static int put_message(struct buf *ret, const struct mem *m, unsigned arg, uint64_t addr,
                       bool sent)
{
    struct params_msghdr h;

    if (addr == 0)
        return 0;
    size_t got = mem_read_some(m, addr, &h, sizeof h);
    int rc = put_bytes(ret, arg, got < sizeof h ? IN_FAULT : IN_BLOCK, &h, got, IN_KEEP_BLOCK);
    return rc || got < sizeof h ? rc : put_message_parts(ret, m, arg, &h, sent);
}

static int put_messages(struct buf *ret, const struct mem *m, unsigned arg, uint64_t addr,
                        uint64_t count, bool sent)
{
    struct params_mmsghdr h;
    uint32_t n = params_vlen(count);

    int rc = put_block(ret, m, arg, addr, n * sizeof h, IN_KEEP_BLOCK);
    for (uint32_t i = 0; addr && rc == 0 && i < n; i++) {
        if (mem_read(m, addr + i * sizeof h, &h, sizeof h) != 0)
            break;
        rc = put_message_parts(ret, m, arg, &h.hdr, sent);
    }
    return rc;
}

int params_in(const struct call_desc *d, const uint64_t args[CALL_MAX_ARGS], const struct mem *m,
              struct buf *ret)
{
    int rc = 0;

    for (unsigned i = 0; i < d->nargs && rc == 0; i++) {
        const struct arg_desc *a = &d->arg[i];
        uint64_t before = 0;
        size_t len, keep = IN_KEEP_BLOCK;

        switch ((enum arg_kind)a->kind) {
        case ARG_SCALAR:
        case ARG_OUT:
            break;
        case ARG_STR:
            rc = put_string(ret, m, i, args[i], MAX_STRING, &len);
            break;
        case ARG_STRV:
            rc = put_strings(ret, m, i, args[i]);
            break;
        case ARG_IN:
            if (a->rule == SIZE_FIXED)
                keep = IN_KEEP_STRUCT;
            /* fall through */
        case ARG_INOUT:
            if (args[i] == 0)
                break;
            params_before(a, i, args, m, &before);
            rc = put_block(ret, m, i, args[i], params_capacity(a, args, before), keep);
            break;
        case ARG_IOV_IN:
        case ARG_IOV_OUT:
            rc = put_iov(ret, m, i, args[i], args[a->size_arg], a->kind == ARG_IOV_IN);
            break;
        case ARG_MSG_IN:
        case ARG_MSG_OUT:
            rc = put_message(ret, m, i, args[i], a->kind == ARG_MSG_IN);
            break;
        case ARG_MMSG_IN:
        case ARG_MMSG_OUT:
            rc = put_messages(ret, m, i, args[i], args[a->size_arg], a->kind == ARG_MMSG_IN);
            break;
        }
    }
    return rc;
}
