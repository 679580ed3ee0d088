#include "evread.h"

#include <errno.h>
#include <string.h>

struct cursor {
    const uint8_t *at, *end;
};

static int take(struct cursor *c, size_t n, const uint8_t **ret)
{
    if ((size_t)(c->end - c->at) < n)
        return -EBADMSG;
    *ret = c->at;
    c->at += n;
    return 0;
}

static int section(struct cursor *c, const uint8_t **ret, uint32_t *ret_len)
{
    const uint8_t *p;
    int rc = take(c, 4, &p);

    if (rc)
        return rc;
    memcpy(ret_len, p, 4);
    return take(c, *ret_len, ret);
}

int event_decode(const uint8_t *data, size_t len, size_t at, struct event_in *ret)
{
    struct cursor c;
    const uint8_t *p;
    int rc;

    if (at > len || len - at < EV_HEADER)
        return -EBADMSG;
    memset(ret, 0, sizeof *ret);
    p = data + at;
    memcpy(&ret->size, p, 4);
    ret->kind = p[4];
    ret->flags = p[5];
    memcpy(&ret->nr, p + 6, 2);
    memcpy(&ret->task, p + 8, 4);
    memcpy(&ret->time_ms, p + 12, 4);
    if (ret->size < EV_HEADER || ret->size > len - at)
        return -EBADMSG;
    c.at = p + EV_HEADER;
    c.end = p + ret->size;
    if (ret->flags & EVF_REGS) {
        if ((rc = take(&c, 4, &p)))
            return rc;
        memcpy(&ret->regs_mask, p, 4);
        if (ret->regs_mask >> EV_NREGS)
            return -EBADMSG;
        ret->has_regs = true;
        if ((rc = take(&c, 8u * (unsigned)__builtin_popcount(ret->regs_mask), &ret->regs)))
            return rc;
    }
    if (ret->flags & EVF_RESULT) {
        if ((rc = take(&c, 8, &p)))
            return rc;
        memcpy(&ret->result, p, 8);
    }
    if ((ret->flags & EVF_IN) && (rc = section(&c, &ret->in, &ret->in_len)))
        return rc;
    if ((ret->flags & EVF_OUT) && (rc = section(&c, &ret->out, &ret->out_len)))
        return rc;
    if ((ret->flags & EVF_EXTRA) && (rc = section(&c, &ret->extra, &ret->extra_len)))
        return rc;
    return c.at == c.end ? 0 : -EBADMSG;
}

void event_regs(const struct event_in *e, uint64_t chunk, struct ev_base *base)
{
    const uint8_t *p = e->regs;

    if (base->chunk != chunk) {
        memset(base->regs, 0, sizeof base->regs);
        base->chunk = chunk;
    }
    for (unsigned i = 0; i < EV_NREGS; i++) {
        if (!(e->regs_mask & (1u << i)))
            continue;
        memcpy(&base->regs[i], p, 8);
        p += 8;
    }
}
