#include "changes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void changes_free(struct changes *c)
{
    free(c->bytes);
    memset(c, 0, sizeof *c);
}

static uint64_t size_of(const struct area *a)
{
    return a->end - a->start;
}

/* Words of [start, end) in which the two copies differ, next to each other as one item. */
static int put_differing(const uint8_t *was, const uint8_t *is, uint64_t start, uint64_t len,
                         size_t *room, struct buf *out)
{
    uint64_t at = 0;
    int rc;

    while (at + 8 <= len && *room) {
        uint64_t from;

        if (at % 256 == 0 && at + 256 <= len && !memcmp(was + at, is + at, 256)) {
            at += 256;
            continue;
        }
        from = at;
        while (at + 8 <= len && at - from < 256 && at - from < *room &&
               memcmp(was + at, is + at, 8))
            at += 8;
        if (at == from) {
            at += 8;
            continue;
        }
        if ((rc = buf_put_u64(out, start + from)) || (rc = buf_put_u32(out, (uint32_t)(at - from))) ||
            (rc = buf_put(out, is + from, at - from)))
            return rc;
        *room -= at - from;
    }
    return 0;
}

static int put_changed(const struct changes *was, const struct area *area, const uint8_t *is,
                       size_t *room, struct buf *out)
{
    static const uint8_t zeros[CHANGES_KEPT];
    const uint8_t *bytes = was->bytes;

    if (!was->n)
        return put_differing(zeros, is, area->start, size_of(area), room, out);
    for (unsigned i = 0; i < was->n; bytes += size_of(&was->areas[i]), i++) {
        const struct area *old = &was->areas[i];
        uint64_t start = old->start > area->start ? old->start : area->start;
        uint64_t end = old->end < area->end ? old->end : area->end;
        int rc;

        if (start < end && (rc = put_differing(bytes + (start - old->start), is + (start - area->start),
                                               start, end - start, room, out)))
            return rc;
    }
    return 0;
}

int changes_take(struct changes *c, const struct mem *m, const struct area *areas, unsigned n,
                 uint64_t digests, struct buf *out)
{
    struct changes now = {.n = 0};
    size_t total = 0, at = 0, room = c->n ? CHANGES_LOGGED : CHANGES_FIRST;
    uint64_t sums[CHANGES_AREAS];
    int rc = 0;

    for (unsigned i = 0; i < n; i++)
        total += size_of(&areas[i]);
    if (!(now.bytes = malloc(total ? total : 1)))
        return -ENOMEM;
    for (unsigned i = 0; i < n && now.n < CHANGES_AREAS; i++) {
        uint8_t *bytes = now.bytes + at;

        if (mem_read(m, areas[i].start, bytes, size_of(&areas[i])))
            continue; /* e.g. behind the end of a mapped file */
        if ((rc = put_changed(c, &areas[i], bytes, &room, out)))
            goto fail;
        sums[now.n] = digest64(bytes, size_of(&areas[i]), 0);
        now.areas[now.n++] = areas[i];
        at += size_of(&areas[i]);
    }
    if ((rc = buf_put_u64(out, digests)) || (rc = buf_put_u32(out, now.n * 24)))
        goto fail;
    for (unsigned i = 0; i < now.n; i++)
        if ((rc = buf_put_u64(out, now.areas[i].start)) ||
            (rc = buf_put_u64(out, now.areas[i].end)) || (rc = buf_put_u64(out, sums[i])))
            goto fail;
    changes_free(c);
    *c = now;
    return 0;
fail:
    free(now.bytes);
    return rc;
}

int changes_same(const struct mem *m, const uint8_t *logged, size_t len, int *ret_same)
{
    static const size_t most = CHANGES_KEPT;
    uint8_t *bytes = NULL;
    int rc = 0;

    *ret_same = 1;
    for (size_t at = 0; at + 24 <= len && *ret_same && !rc; at += 24) {
        uint64_t start, end, sum;

        memcpy(&start, logged + at, 8);
        memcpy(&end, logged + at + 8, 8);
        memcpy(&sum, logged + at + 16, 8);
        if (start >= end || end - start > most)
            rc = -EBADMSG;
        else if (!bytes && !(bytes = malloc(most)))
            rc = -ENOMEM;
        else if (mem_read(m, start, bytes, end - start) || digest64(bytes, end - start, 0) != sum)
            *ret_same = 0;
    }
    free(bytes);
    return rc;
}
