#include "landmark.h"

#include <cpuid.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <unistd.h>

#define XSAVE_HEADER 512
#define XSAVE_SW_RESERVED 464
#define XSAVE_LAST_OPCODE 6
#define XSAVE_MXCSR 24
#define XSAVE_MXCSR_MASK 28
#define XSAVE_MAX 16384
#define RED_ZONE 128
#define MAX_RANGES 4096

static int xstate_values(int tid, uint8_t area[XSAVE_MAX], size_t *ret_len)
{
    struct iovec iov = {area, XSAVE_MAX};

    if (ptrace(PTRACE_GETREGSET, tid, (void *)NT_X86_XSTATE, &iov) < 0)
        return -errno;
    if (iov.iov_len < XSAVE_HEADER + 64)
        return -EIO;
    /* The kernel fills in the initial values of components that are not in use
     * (copy_xstate_to_uabi_buf); which ones those are is not the program's doing. */
    memset(area + XSAVE_MXCSR_MASK, 0, 4);
    /* Where the last x87 instruction was: in a stub, when it was displaced by a patch. */
    memset(area + XSAVE_LAST_OPCODE, 0, XSAVE_MXCSR - XSAVE_LAST_OPCODE);
    memset(area + XSAVE_SW_RESERVED, 0, XSAVE_HEADER + 64 - XSAVE_SW_RESERVED);
    *ret_len = iov.iov_len;
    return 0;
}

int xstate_digest(int tid, uint64_t *ret)
{
    uint8_t area[XSAVE_MAX];
    size_t len = 0;
    int rc = xstate_values(tid, area, &len);

    *ret = rc ? 0 : digest64(area, len, 0);
    return rc;
}

/* Components 0 and 1 (x87, SSE) lie in the legacy region, 2 to 7 where CPUID leaf 0xD says (Intel
 * SDM vol. 1, 13.2 and 13.4): AVX, MPX (two), AVX-512 masks, upper halves, registers 16 to 31. */
#define LEGACY_REGISTERS 32
#define LAST_TOLD 7

static bool component_of(size_t at, unsigned *ret_component, unsigned *ret_offset)
{
    if (at < 416) {
        *ret_component = at < 160 ? 0 : 1;
        *ret_offset = (unsigned)(at < 160 ? at : at - 160);
        return true;
    }
    for (unsigned i = 2; i <= LAST_TOLD; i++) {
        unsigned size, start, c, d;

        if (!__get_cpuid_count(0xd, i, &size, &start, &c, &d) || at < start || at >= start + size)
            continue;
        *ret_component = i;
        *ret_offset = (unsigned)(at - start);
        return true;
    }
    return false;
}

static bool find_values(const uint8_t *sample, size_t len, const uint8_t **ret, size_t *ret_len)
{
    size_t at = 0;

    while (at + 12 <= len) {
        uint64_t addr;
        uint32_t n;

        memcpy(&addr, sample + at, 8);
        memcpy(&n, sample + at + 8, 4);
        at += 12;
        if (n > len - at)
            return false;
        if (addr == LANDMARK_XVALUES) {
            *ret = sample + at;
            *ret_len = n;
            return true;
        }
        at += n;
    }
    return false;
}

int xstate_compare(int tid, const uint8_t *sample, size_t len, unsigned max,
                   struct xstate_word *ret_words, unsigned *ret_n)
{
    uint8_t now[XSAVE_MAX];
    const uint8_t *was;
    size_t now_len = 0, was_len;
    int rc;

    *ret_n = 0;
    if (!find_values(sample, len, &was, &was_len))
        return 0;
    if ((rc = xstate_values(tid, now, &now_len)))
        return rc;
    for (size_t at = LEGACY_REGISTERS; at + 8 <= was_len && at + 8 <= now_len && *ret_n < max; at += 8) {
        struct xstate_word *w = &ret_words[*ret_n];

        if (!memcmp(was + at, now + at, 8) || !component_of(at, &w->component, &w->offset))
            continue;
        memcpy(&w->value, was + at, 8);
        (*ret_n)++;
    }
    return 0;
}

/* ---- which memory is worth a look ---- */

struct range {
    uint64_t start, end;
    bool shared;
};

struct ranges {
    struct range *items;
    unsigned n;
};

/* The writable mappings; the agent's and scratch memory are not the program's. */
static int writable_ranges(int tid, struct ranges *ret)
{
    char path[40], *text = NULL, *line, *next;
    size_t len = 0, cap = 0;
    int fd, rc = 0;

    ret->n = 0;
    ret->items = NULL;
    snprintf(path, sizeof path, "/proc/%d/maps", tid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    for (;;) {
        ssize_t n;

        if (cap - len < 4096) {
            char *more = realloc(text, cap + 65536);

            if (!more) {
                rc = -ENOMEM;
                goto done;
            }
            text = more;
            cap += 65536;
        }
        n = read(fd, text + len, cap - len - 1);
        if (n < 0) {
            rc = -errno;
            goto done;
        }
        if (!n)
            break;
        len += (size_t)n;
    }
    text[len] = 0;
    ret->items = malloc(MAX_RANGES * sizeof *ret->items);
    if (!ret->items) {
        rc = -ENOMEM;
        goto done;
    }
    for (line = text; *line && ret->n < MAX_RANGES; line = next) {
        unsigned long start, end;
        char flags[8];

        next = strchr(line, '\n');
        next = next ? next + 1 : line + strlen(line);
        if (sscanf(line, "%lx-%lx %7s", &start, &end, flags) != 3)
            continue;
        if (flags[0] != 'r' || flags[1] != 'w' || (start >= AGENT_TEXT && start < 0x80000000ul))
            continue;
        ret->items[ret->n].start = start;
        ret->items[ret->n].shared = flags[3] == 's';
        ret->items[ret->n++].end = end;
    }
done:
    free(text);
    close(fd);
    return rc;
}

static const struct range *range_of(const struct ranges *r, uint64_t addr)
{
    unsigned lo = 0, hi = r->n;

    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;

        if (addr >= r->items[mid].end)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < r->n && addr >= r->items[lo].start ? &r->items[lo] : NULL;
}

/* ---- the sample ---- */

struct sampler {
    const struct mem *m;
    struct ranges ranges;
    uint64_t seen[2 * SAMPLE_BLOCKS]; /* starts of the blocks taken */
    unsigned n_blocks;
    struct buf *out;
    struct buf next; /* words to follow in the next step */
};

static int take(struct sampler *s, uint64_t start, uint64_t end)
{
    const struct range *r = range_of(&s->ranges, start);
    uint8_t block[SAMPLE_STACK + RED_ZONE];
    uint64_t len;
    int rc;

    if (!r)
        return 0;
    if (end > r->end)
        end = r->end;
    len = end - start;
    if (len > sizeof block)
        len = sizeof block;
    if (mem_read(s->m, start, block, len))
        return 0; /* e.g. behind the end of a mapped file */
    if ((rc = buf_put_u64(s->out, start)) || (rc = buf_put_u32(s->out, (uint32_t)len)) ||
        (rc = buf_put(s->out, block, len)))
        return rc;
    s->n_blocks++;
    for (uint64_t at = 0; at + 8 <= len; at += 8) {
        uint64_t word;

        memcpy(&word, block + at, 8);
        if (range_of(&s->ranges, word) && (rc = buf_put_u64(&s->next, word)))
            return rc;
    }
    return 0;
}

/* The block about a pointer's target, once: from the cache line before it, since objects
 * have their counts and types in front. */
static int follow(struct sampler *s, uint64_t pointer)
{
    uint64_t start = pointer & ~63ull;
    const struct range *r = range_of(&s->ranges, pointer);

    if (!r || s->n_blocks >= SAMPLE_BLOCKS)
        return 0;
    if (start < r->start)
        start = r->start;
    for (unsigned i = 0; i < s->n_blocks && i < sizeof s->seen / sizeof *s->seen; i++)
        if (s->seen[i] == start)
            return 0;
    s->seen[s->n_blocks] = start;
    return take(s, start, start + SAMPLE_BLOCK);
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

/* Global variables. Instructions are not decoded: any four bytes may be a displacement, followed by
 * an immediate of 0, 1, 2 or 4 bytes. What isn't one points hardly ever into writable memory. */
static int follow_code(struct sampler *s, uint64_t rip)
{
    static const unsigned immediates[] = {0, 1, 2, 4};
    uint8_t code[2 * SAMPLE_CODE];
    uint64_t start = rip - SAMPLE_CODE;
    size_t got = mem_read_some(s->m, start, code, sizeof code);
    int rc = 0;

    if (!got) {
        start = rip;
        got = mem_read_some(s->m, start, code, SAMPLE_CODE);
    }
    for (size_t at = 0; at + 4 <= got && !rc; at++) {
        int32_t disp;

        memcpy(&disp, code + at, 4);
        if (disp > 0xffff && (rc = follow(s, (uint32_t)disp)))
            break;
        for (unsigned i = 0; i < 4 && !rc; i++)
            rc = follow(s, start + at + 4 + immediates[i] + (uint64_t)(int64_t)disp);
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

static int by_size(const void *a, const void *b)
{
    const struct area *x = a, *y = b;
    uint64_t size_x = x->end - x->start, size_y = y->end - y->start;

    return size_x < size_y ? -1 : size_x > size_y;
}

/* The small private mappings, without what is dead below the stack pointer. */
static int put_changes(struct sampler *s, struct changes *changes, uint64_t sp)
{
    struct area *areas = malloc((s->ranges.n + 1) * sizeof *areas);
    uint64_t live = (sp - RED_ZONE) & ~7ull, total = 0;
    unsigned n = 0, kept;
    int rc;

    if (!areas)
        return -ENOMEM;
    for (unsigned i = 0; i < s->ranges.n; i++) {
        const struct range *r = &s->ranges.items[i];

        if (r->shared)
            continue;
        areas[n].start = r->start <= live && live < r->end ? live : r->start;
        areas[n++].end = r->end;
    }
    qsort(areas, n, sizeof *areas, by_size);
    for (kept = 0; kept < n && kept < CHANGES_AREAS; kept++) {
        total += areas[kept].end - areas[kept].start;
        if (total > CHANGES_KEPT)
            break;
    }
    rc = changes_take(changes, s->m, areas, kept, LANDMARK_DIGESTS, s->out);
    free(areas);
    return rc;
}

int landmark_take(int tid, const struct mem *m, const struct regs *regs, struct changes *changes,
                  struct buf *ret)
{
    static const enum reg pointers[] = {R_RAX, R_RBX, R_RCX, R_RDX, R_RSI, R_RDI, R_RBP, R_R8,
                                        R_R9,  R_R10, R_R11, R_R12, R_R13, R_R14, R_R15};
    struct sampler s = {.m = m, .out = ret};
    uint64_t sp = regs->r[R_RSP];
    uint8_t area[XSAVE_MAX];
    size_t len = 0;
    int rc;

    if ((rc = xstate_values(tid, area, &len)) ||
        (rc = put_word(ret, LANDMARK_XSTATE, digest64(area, len, 0))) ||
        (rc = put_word(ret, LANDMARK_CPU, task_cpu_ns(tid))) ||
        (rc = buf_put_u64(ret, LANDMARK_XVALUES)) || (rc = buf_put_u32(ret, (uint32_t)len)) ||
        (rc = buf_put(ret, area, len)))
        return rc;
    if ((rc = writable_ranges(tid, &s.ranges)))
        goto done;
    rc = put_changes(&s, changes, sp);
    if (!rc)
        rc = follow_code(&s, regs->r[R_RIP]);
    if (!rc)
        rc = follow(&s, regs->r[R_FS_BASE]);
    if (!rc)
        rc = follow(&s, regs->r[R_FS_BASE] - SAMPLE_BLOCK);
    for (unsigned i = 0; i < sizeof pointers / sizeof *pointers && !rc; i++)
        rc = follow(&s, regs->r[pointers[i]]);
    if (!rc) {
        s.seen[s.n_blocks] = (sp - RED_ZONE) & ~7ull;
        rc = take(&s, (sp - RED_ZONE) & ~7ull, ((sp - RED_ZONE) & ~7ull) + SAMPLE_STACK + RED_ZONE);
    }
    for (int step = 0; step < 2 && !rc; step++)
        rc = follow_all(&s);
done:
    buf_free(&s.next);
    free(s.ranges.items);
    return rc;
}

/* ---- comparing ---- */

static void differing_words(const uint8_t *recorded, const uint8_t *now, uint64_t addr,
                            uint32_t len, unsigned max, struct sample_word *words, unsigned *n)
{
    for (uint32_t at = 0; at + 8 <= len && *n < max; at += 8) {
        if (!memcmp(recorded + at, now + at, 8))
            continue;
        words[*n].addr = addr + at;
        memcpy(&words[*n].value, recorded + at, 8);
        (*n)++;
    }
}

int landmark_compare(int tid, const struct mem *m, const uint8_t *sample, size_t len, unsigned max,
                     struct sample_word *ret_words, unsigned *ret_n, int *ret_same,
                     int *ret_xstate)
{
    uint8_t now[SAMPLE_STACK + RED_ZONE];
    const uint8_t *digests = NULL;
    size_t at = 0, digests_len = 0;
    int rc;

    *ret_n = 0;
    *ret_same = *ret_xstate = 1;
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
                *ret_same = *ret_xstate = 0;
        } else if (addr == LANDMARK_DIGESTS) {
            digests = sample + at;
            digests_len = n;
        } else if (addr != LANDMARK_CPU && addr != LANDMARK_XVALUES) {
            if (n > sizeof now)
                return -EBADMSG;
            if (mem_read(m, addr, now, n)) {
                *ret_same = 0;
            } else if (memcmp(now, sample + at, n)) {
                *ret_same = 0;
                differing_words(sample + at, now, addr, n, max, ret_words, ret_n);
            }
        }
        at += n;
    }
    if (*ret_same && digests) /* the dear part last */
        return changes_same(m, digests, digests_len, ret_same);
    return 0;
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
