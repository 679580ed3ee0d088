#include "landmark.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define RED_ZONE 128

#define SEEN_SLOTS 1024u /* more than twice SAMPLE_BLOCKS; a power of two */

struct sampler {
    const struct mem *m;
    const struct changes *changes;
    const struct ranges *ranges;
    uint64_t seen[SEEN_SLOTS]; /* starts of the blocks taken, by hash; 0: free */
    unsigned n_seen, n_blocks;
    struct buf *out;
    struct buf next; /* words to follow in the next step */
};

/* Whether a block is new, and takes note of it. */
static bool first_time(struct sampler *s, uint64_t start)
{
    unsigned slot = (unsigned)((start >> 3) * 0x9e3779b97f4a7c15ull >> 54);

    _Static_assert(SEEN_SLOTS == 1u << (64 - 54) && SEEN_SLOTS > 2 * SAMPLE_BLOCKS, "the hash");
    for (; s->seen[slot]; slot = (slot + 1) % SEEN_SLOTS)
        if (s->seen[slot] == start)
            return false;
    if (s->n_seen == SEEN_SLOTS / 2) /* most of them could not be read */
        return false;
    s->seen[slot] = start;
    s->n_seen++;
    return true;
}

static int take(struct sampler *s, uint64_t start, uint64_t end)
{
    const struct range *r = range_of(s->ranges, start);
    uint8_t read[SAMPLE_STACK + RED_ZONE];
    const uint8_t *block;
    uint64_t len;
    int rc;

    if (!r)
        return 0;
    if (end > r->end)
        end = r->end;
    len = end - start;
    if (len > sizeof read)
        len = sizeof read;
    if (!(block = changes_at(s->changes, start, len))) {
        if (mem_read(s->m, start, read, len))
            return 0; /* e.g. behind the end of a mapped file */
        block = read;
    }
    if ((rc = buf_put_u64(s->out, start)) || (rc = buf_put_u32(s->out, (uint32_t)len)) ||
        (rc = buf_put(s->out, block, len)))
        return rc;
    s->n_blocks++;
    for (uint64_t at = 0; at + 8 <= len; at += 8) {
        uint64_t word;

        memcpy(&word, block + at, 8);
        if (range_of(s->ranges, word) && (rc = buf_put_u64(&s->next, word)))
            return rc;
    }
    return 0;
}

/* The block about a pointer's target, once: from the cache line before it, since objects
 * have their counts and types in front. */
static int follow(struct sampler *s, uint64_t pointer)
{
    uint64_t start = pointer & ~63ull;
    const struct range *r = range_of(s->ranges, pointer);

    if (!r || s->n_blocks >= SAMPLE_BLOCKS)
        return 0;
    if (start < r->start)
        start = r->start;
    return first_time(s, start) ? take(s, start, start + SAMPLE_BLOCK) : 0;
}

static int follow_all(struct sampler *s)
{
    struct buf words = s->next;
    int rc = 0;

    memset(&s->next, 0, sizeof s->next);
    for (size_t at = 0; at < words.len && !rc; at += 8) {
        uint64_t word;

        memcpy(&word, words.data + at, 8);
        rc = follow(s, word);
    }
    buf_free(&words);
    return rc;
}

/* The span of the mappings within 2 GiB of an address: most displacements that are none
 * lead elsewhere. */
static struct range near_ranges(const struct ranges *ranges, uint64_t address)
{
    struct range span = {UINT64_MAX, 0, false};
    uint64_t lowest = address > 1ull << 31 ? address - (1ull << 31) : 0;

    for (unsigned i = 0; i < ranges->n; i++) {
        const struct range *r = &ranges->items[i];

        if (r->end <= lowest || r->start > address + (1ull << 31))
            continue;
        if (span.start == UINT64_MAX)
            span.start = r->start;
        span.end = r->end;
    }
    return span;
}

static bool inside(const struct range *r, uint64_t address)
{
    return address >= r->start && address < r->end;
}

/* Global variables. Instructions are not decoded: any four bytes may be a displacement, followed by
 * an immediate of 0, 1, 2 or 4 bytes. What isn't one points hardly ever into writable memory. */
static int follow_code(struct sampler *s, uint64_t rip)
{
    static const unsigned immediates[] = {0, 1, 2, 4};
    uint8_t code[2 * SAMPLE_CODE];
    uint64_t start = rip - SAMPLE_CODE;
    size_t got = mem_read_some(s->m, start, code, sizeof code);
    struct range near, low;
    int rc = 0;

    if (!got) {
        start = rip;
        got = mem_read_some(s->m, start, code, SAMPLE_CODE);
    }
    near = near_ranges(s->ranges, rip);
    low = near_ranges(s->ranges, 1ull << 31);
    for (size_t at = 0; at + 4 <= got && !rc; at++) {
        int32_t disp;

        memcpy(&disp, code + at, 4);
        if (disp > 0xffff && inside(&low, (uint32_t)disp) && (rc = follow(s, (uint32_t)disp)))
            break;
        for (unsigned i = 0; i < 4 && !rc; i++) {
            uint64_t target = start + at + 4 + immediates[i] + (uint64_t)(int64_t)disp;

            if (inside(&near, target))
                rc = follow(s, target);
        }
    }
    return rc;
}

static int put_word(struct buf *out, uint64_t addr, uint64_t value)
{
    int rc = buf_put_u64(out, addr);

    if (!rc)
        rc = buf_put_u32(out, 8);
    return rc ? rc : buf_put_u64(out, value);
}

int landmark_take(int tid, const struct mem *m, const struct regs *regs, struct changes *changes,
                  struct buf *ret)
{
    static const enum reg pointers[] = {R_RAX, R_RBX, R_RCX, R_RDX, R_RSI, R_RDI, R_RBP, R_R8,
                                        R_R9,  R_R10, R_R11, R_R12, R_R13, R_R14, R_R15};
    struct sampler s = {.m = m, .out = ret, .changes = changes, .ranges = &changes->ranges};
    uint64_t sp = regs->r[R_RSP], stack = (sp - RED_ZONE) & ~7ull;
    uint8_t area[XSTATE_MAX];
    size_t len = 0;
    int rc;

    if ((rc = xstate_values(tid, area, &len)) ||
        (rc = put_word(ret, LANDMARK_XSTATE, digest64(area, len, 0))) ||
        (rc = put_word(ret, LANDMARK_CPU, task_cpu_ns(tid))) ||
        (rc = buf_put_u64(ret, LANDMARK_XVALUES)) || (rc = buf_put_u32(ret, (uint32_t)len)) ||
        (rc = buf_put(ret, area, len)))
        return rc;
    /* a stack grows without a call */
    if (!(changes->ranges.valid && range_of(&changes->ranges, sp)) &&
        (rc = ranges_read(&changes->ranges, tid)))
        return rc;
    if ((rc = changes_take(changes, tid, m, sp, LANDMARK_DIGESTS, ret)) ||
        (rc = follow_code(&s, regs->r[R_RIP])) || (rc = follow(&s, regs->r[R_FS_BASE])) ||
        (rc = follow(&s, regs->r[R_FS_BASE] - SAMPLE_BLOCK)))
        goto done;
    for (unsigned i = 0; i < sizeof pointers / sizeof *pointers && !rc; i++)
        rc = follow(&s, regs->r[pointers[i]]);
    first_time(&s, stack);
    if (!rc)
        rc = take(&s, stack, stack + SAMPLE_STACK + RED_ZONE);
    for (int step = 0; step < 2 && !rc; step++)
        rc = follow_all(&s);
done:
    buf_free(&s.next);
    return rc;
}
/* ---- comparing ---- */

static void differing_words(const uint8_t *recorded, const uint8_t *now, uint64_t addr,
                            uint32_t len, struct difference *d)
{
    for (uint32_t at = 0; at < len; at += 8) {
        uint32_t n = len - at < 8 ? len - at : 8;

        if (!memcmp(recorded + at, now + at, n))
            continue;
        d->total++;
        if (n < 8 || d->n == d->max)
            continue;
        d->words[d->n].addr = addr + at;
        memcpy(&d->words[d->n++].value, recorded + at, 8);
    }
}

/* Blocks of a sample that are read at once. */
#define BATCH 128

struct batch {
    struct iovec from[BATCH];
    const uint8_t *recorded[BATCH];
    unsigned n;
    size_t len;
    uint8_t now[BATCH * (SAMPLE_STACK + RED_ZONE)];
};

static void compare_batch(int tid, const struct mem *m, struct batch *b, struct difference *d)
{
    bool whole = b->n && remote_read(tid, b->now, b->len, b->from, b->n);
    uint8_t *now = b->now;

    for (unsigned i = 0; i < b->n; i++) {
        uint64_t addr = (uint64_t)(uintptr_t)b->from[i].iov_base;
        uint32_t len = (uint32_t)b->from[i].iov_len;

        if (!whole && mem_read(m, addr, now, len)) {
            d->same = 0;
            d->total += (len + 7) / 8;
        } else if (memcmp(now, b->recorded[i], len)) {
            d->same = 0;
            differing_words(b->recorded[i], now, addr, len, d);
        }
        now += len;
    }
    b->n = 0;
    b->len = 0;
}

static int compare_items(int tid, const struct mem *m, const uint8_t *sample, size_t len,
                         struct batch *b, struct difference *d)
{
    const uint8_t *digests = NULL;
    size_t at = 0, digests_len = 0;
    int rc;

    while (at + 12 <= len) {
        uint64_t addr;
        uint32_t n;

        memcpy(&addr, sample + at, 8);
        memcpy(&n, sample + at + 8, 4);
        at += 12;
        if (n > len - at)
            return -EBADMSG;
        if (addr == LANDMARK_XSTATE && n == 8) {
            uint64_t digest;

            if ((rc = xstate_digest(tid, &digest)))
                return rc;
            if (memcmp(&digest, sample + at, 8))
                d->same = d->xstate_same = 0;
        } else if (addr == LANDMARK_DIGESTS) {
            digests = sample + at;
            digests_len = n;
        } else if (addr != LANDMARK_CPU && addr != LANDMARK_XVALUES) {
            if (n > SAMPLE_STACK + RED_ZONE)
                return -EBADMSG;
            b->from[b->n] = (struct iovec){(void *)(uintptr_t)addr, n};
            b->recorded[b->n++] = sample + at;
            b->len += n;
            if (b->n == BATCH)
                compare_batch(tid, m, b, d);
        }
        at += n;
    }
    compare_batch(tid, m, b, d);
    if (d->same && digests) /* the dear part last */
        return changes_same(tid, m, digests, digests_len, &d->same);
    return 0;
}

int landmark_compare(int tid, const struct mem *m, const uint8_t *sample, size_t len,
                     struct difference *d)
{
    struct batch *b = malloc(sizeof *b);
    int rc;

    d->n = d->total = 0;
    d->same = d->xstate_same = 1;
    if (!b)
        return -ENOMEM;
    b->n = 0;
    b->len = 0;
    rc = compare_items(tid, m, sample, len, b, d);
    free(b);
    return rc;
}

uint64_t landmark_cpu_ns(const uint8_t *sample, size_t len)
{
    size_t at = 0;

    while (at + 20 <= len) {
        uint64_t addr, value;
        uint32_t n;

        memcpy(&addr, sample + at, 8);
        memcpy(&n, sample + at + 8, 4);
        if (addr == LANDMARK_CPU && n == 8) {
            memcpy(&value, sample + at + 12, 8);
            return value;
        }
        at += 12 + (size_t)n;
    }
    return 0;
}
