/* A process's own pages: those that no file backs any more. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "mem.h"

/* Bits of a /proc/PID/pagemap entry (Documentation/admin-guide/mm/pagemap.rst). */
#define PAGE_PRESENT (1ull << 63)
#define PAGE_SWAPPED (1ull << 62)
#define PAGE_OF_FILE (1ull << 61)
#define PIECE_PAGES 256u

/* PAGEMAP_SCAN (Linux 6.7, include/uapi/linux/fs.h): finds pages in sparse mappings without looking
 * at what was never touched, as reading the pagemap does. A sanitizer's shadow memory has terabytes. */
struct scan_region {
    uint64_t start, end, categories;
};
struct scan_arg {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN_IOCTL _IOWR('f', 16, struct scan_arg)
#define SCAN_IS_FILE (1u << 2)
#define SCAN_IS_PRESENT (1u << 3)
#define SCAN_IS_SWAPPED (1u << 4)
#define N_REGIONS 64u

/* One stretch of pages: zero pages count for nothing, whether they were touched or not, and neither
 * do those that can't be read (beyond the end of a file). */
static uint64_t digest_stretch(const struct mem *m, uint64_t start, uint64_t end, uint64_t d)
{
    static const uint8_t zeros[4096];
    static uint8_t piece[PIECE_PAGES * 4096];

    for (; start < end; start += sizeof piece) {
        size_t want = end - start < sizeof piece ? (size_t)(end - start) : sizeof piece;
        size_t got = mem_read_some(m, start, piece, want);

        for (size_t at = 0; at < want; at += 4096) {
            size_t n;

            if (at >= got)
                got = at + mem_read_some(m, start + at, piece + at, want - at);
            n = got - at < 4096 ? got - at : 4096;
            if (memcmp(piece + at, zeros, n))
                d = digest64(piece + at, n, d ^ (start + at));
        }
    }
    return d;
}

/* -ENOTTY where the kernel does not know the scan. */
static int digest_scanned(int map, const struct mem *m, uint64_t start, uint64_t end, uint64_t *ret)
{
    struct scan_region found[N_REGIONS];
    uint64_t d = *ret;

    while (start < end) {
        struct scan_arg scan = {
            .size = sizeof scan, .start = start, .end = end,
            .vec = (uint64_t)(uintptr_t)found, .vec_len = N_REGIONS,
            .category_inverted = SCAN_IS_FILE, .category_mask = SCAN_IS_FILE,
            .category_anyof_mask = SCAN_IS_PRESENT | SCAN_IS_SWAPPED,
            .return_mask = SCAN_IS_PRESENT,
        };
        int n = ioctl(map, SCAN_IOCTL, &scan);

        if (n < 0)
            return -errno;
        for (int i = 0; i < n; i++)
            d = digest_stretch(m, found[i].start, found[i].end, d);
        if (scan.walk_end <= start)
            return -EIO;
        start = scan.walk_end;
    }
    *ret = d;
    return 0;
}

static int digest_read(int map, const struct mem *m, uint64_t start, uint64_t end, uint64_t *ret)
{
    uint64_t entries[PIECE_PAGES], d = *ret;

    while (start < end) {
        uint64_t pages = (end - start) / 4096;
        unsigned want = pages < PIECE_PAGES ? (unsigned)pages : PIECE_PAGES, first = 0;
        ssize_t got = pread(map, entries, want * 8ul, (off_t)(start / 4096 * 8));

        if (got < (ssize_t)(want * 8ul))
            return got < 0 ? -errno : -EIO;
        for (unsigned i = 0; i <= want; i++) {
            bool own = i < want && entries[i] & (PAGE_PRESENT | PAGE_SWAPPED) &&
                       !(entries[i] & PAGE_OF_FILE);

            if (own)
                continue;
            if (i > first)
                d = digest_stretch(m, start + first * 4096ull, start + i * 4096ull, d);
            first = i + 1;
        }
        start += want * 4096ull;
    }
    *ret = d;
    return 0;
}

uint64_t digest_all_pages(const struct mem *m, uint64_t start, uint64_t end)
{
    return digest_stretch(m, start, end, 0);
}

int digest_own_pages(int tid, const struct mem *m, uint64_t start, uint64_t end, bool scan,
                     uint64_t *ret)
{
    char path[40];
    int map, rc = -ENOTTY;

    *ret = 0;
    end = (end + 4095) & ~4095ull;
    /* a start inside a page: what is left of it first */
    if (start & 4095 && start < end) {
        uint8_t part[4096];
        size_t n = 4096 - (start & 4095);

        *ret = digest64(part, mem_read_some(m, start, part, n), start);
        start += n;
    }
    snprintf(path, sizeof path, "/proc/%d/pagemap", tid);
    map = open(path, O_RDONLY | O_CLOEXEC);
    if (map < 0)
        return -errno;
    if (scan)
        rc = digest_scanned(map, m, start, end, ret);
    if (rc == -ENOTTY)
        rc = digest_read(map, m, start, end, ret);
    close(map);
    return rc;
}
