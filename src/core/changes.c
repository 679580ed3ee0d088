#include "changes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RED_ZONE 128

void changes_free(struct changes *c)
{
    free(c->now.bytes);
    free(c->before.bytes);
    ranges_free(&c->ranges);
    memset(c, 0, sizeof *c);
}

static uint64_t size_of(const struct area *a)
{
    return a->end - a->start;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = size_of(a), y = size_of(b);

    return x < y ? -1 : x > y;
}

/* The smaller private mappings, without what is dead below the stack pointer, in pieces; those of
 * the smallest first. */
static int choose(const struct ranges *ranges, uint64_t sp, struct area *ret, unsigned *ret_n)
{
    struct area *areas = malloc((ranges->n + 1) * sizeof *areas);
    uint64_t live = (sp - RED_ZONE) & ~7ull, total = 0;
    unsigned n = 0, pieces = 0;

    if (!areas)
        return -ENOMEM;
    for (unsigned i = 0; i < ranges->n; i++) {
        const struct range *r = &ranges->items[i];

        if (r->shared)
            continue;
        areas[n].start = r->start <= live && live < r->end ? live : r->start;
        areas[n++].end = r->end;
    }
    qsort(areas, n, sizeof *areas, by_size);
    for (unsigned i = 0; i < n; i++) {
        uint64_t start = areas[i].start, end = areas[i].end;

        total += end - start;
        if (total > CHANGES_KEPT ||
            pieces + (end / CHANGES_PIECE - start / CHANGES_PIECE) + 1 > CHANGES_AREAS)
            break;
        for (; start < end; start = ret[pieces++].end) {
            uint64_t next = (start / CHANGES_PIECE + 1) * CHANGES_PIECE;

            ret[pieces] = (struct area){start, next < end ? next : end};
        }
    }
    free(areas);
    *ret_n = pieces;
    return 0;
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

/* ret_sum: the digest, if it is known: nothing has changed. */
static int put_changed(const struct copy *was, const struct area *area, const uint8_t *is,
                       size_t *room, struct buf *out, const uint64_t **ret_sum)
{
    static const uint8_t zeros[CHANGES_KEPT];
    const uint8_t *bytes = was->bytes;

    *ret_sum = NULL;
    if (!was->n)
        return put_differing(zeros, is, area->start, size_of(area), room, out);
    for (unsigned i = 0; i < was->n; bytes += size_of(&was->areas[i]), i++) {
        const struct area *old = &was->areas[i];
        uint64_t start = old->start > area->start ? old->start : area->start;
        uint64_t end = old->end < area->end ? old->end : area->end;
        int rc;

        if (start >= end)
            continue;
        if (old->start == area->start && old->end == area->end &&
            !memcmp(bytes, is, size_of(area))) {
            *ret_sum = &was->sums[i];
            return 0;
        }
        if ((rc = put_differing(bytes + (start - old->start), is + (start - area->start),
                                start, end - start, room, out)))
            return rc;
    }
    return 0;
}

static int put_digests(const struct copy *now, uint64_t digests, struct buf *out)
{
    int rc;

    if ((rc = buf_put_u64(out, digests)) || (rc = buf_put_u32(out, now->n * 24)))
        return rc;
    for (unsigned i = 0; i < now->n; i++)
        if ((rc = buf_put_u64(out, now->areas[i].start)) ||
            (rc = buf_put_u64(out, now->areas[i].end)) || (rc = buf_put_u64(out, now->sums[i])))
            return rc;
    return 0;
}

/* Reads all of the areas at once; what is wanting
 * (e.g. behind the end of a mapped file) one by one, and leaves out what can't be read. */
static unsigned read_areas(int tid, const struct mem *m, struct area *areas, unsigned n, uint8_t *to)
{
    struct iovec there[CHANGES_AREAS];
    unsigned kept = 0;
    size_t total = 0;

    for (unsigned i = 0; i < n; i++) {
        there[i] = (struct iovec){(void *)areas[i].start, size_of(&areas[i])};
        total += size_of(&areas[i]);
    }
    if (remote_read(tid, to, total, there, n))
        return n;
    for (unsigned i = 0; i < n; i++) {
        if (mem_read(m, areas[i].start, to, size_of(&areas[i])))
            continue;
        to += size_of(&areas[i]);
        areas[kept++] = areas[i];
    }
    return kept;
}

int changes_take(struct changes *c, int tid, const struct mem *m, uint64_t sp, uint64_t digests,
                 struct buf *out)
{
    struct copy now = c->before; /* its memory is used again */
    size_t at = 0, room = c->now.n ? CHANGES_LOGGED : CHANGES_FIRST;
    struct area areas[CHANGES_AREAS];
    unsigned n;
    int rc;

    if (!now.bytes && !(now.bytes = c->before.bytes = malloc(CHANGES_KEPT)))
        return -ENOMEM;
    if ((rc = choose(&c->ranges, sp, areas, &n)))
        return rc;
    n = read_areas(tid, m, areas, n, now.bytes);
    now.n = 0;
    for (unsigned i = 0; i < n && !rc; i++) {
        uint8_t *bytes = now.bytes + at;
        const uint64_t *sum;

        rc = put_changed(&c->now, &areas[i], bytes, &room, out, &sum);
        now.sums[now.n] = sum ? *sum : digest64(bytes, size_of(&areas[i]), 0);
        now.areas[now.n++] = areas[i];
        at += size_of(&areas[i]);
    }
    if (rc || (rc = put_digests(&now, digests, out)))
        return rc;
    c->before = c->now;
    c->now = now;
    return 0;
}

const uint8_t *changes_at(const struct changes *c, uint64_t start, uint64_t len)
{
    const uint8_t *bytes = c->now.bytes;

    for (unsigned i = 0; i < c->now.n; bytes += size_of(&c->now.areas[i]), i++) {
        const struct area *a = &c->now.areas[i];

        if (start >= a->start && start < a->end)
            return len <= a->end - start ? bytes + (start - a->start) : NULL;
    }
    return NULL;
}

int changes_same(int tid, const struct mem *m, const uint8_t *logged, size_t len, int *ret_same)
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
        else if ((!remote_read(tid, bytes, end - start,
                               &(struct iovec){(void *)start, end - start}, 1) &&
                  mem_read(m, start, bytes, end - start)) ||
                 digest64(bytes, end - start, 0) != sum)
            *ret_same = 0;
    }
    free(bytes);
    return rc;
}
