#include "rewind.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE 4096u
#define PIECE 64u /* pages looked at together */
/* Documentation/admin-guide/mm/pagemap.rst */
#define PAGE_PRESENT (1ull << 63)
#define PAGE_SWAPPED (1ull << 62)
#define PAGE_OF_FILE (1ull << 61)

static int rewind_page(const struct mem *to, const struct mem *copy, uint64_t addr,
                       uint64_t *pages)
{
    uint8_t was[PAGE], is[PAGE];
    int rc;

    if (mem_read(copy, addr, was, PAGE))
        memset(was, 0, PAGE);
    if ((rc = mem_read(to, addr, is, PAGE)))
        return rc;
    if (!memcmp(was, is, PAGE))
        return 0;
    (*pages)++;
    return mem_write(to, addr, was, PAGE);
}

int rewind_memory(int tid, const struct mem *to, const struct mem *copy, uint64_t start,
                  uint64_t end, uint64_t *ret_pages)
{
    uint64_t entries[PIECE];
    char path[40];
    int map, rc = 0;

    *ret_pages = 0;
    snprintf(path, sizeof path, "/proc/%d/pagemap", tid);
    map = open(path, O_RDONLY | O_CLOEXEC);
    if (map < 0)
        return -errno;
    for (uint64_t at = start; at < end && !rc; at += PIECE * PAGE) {
        uint64_t pages = (end - at + PAGE - 1) / PAGE;
        size_t n = pages < PIECE ? pages : PIECE;
        ssize_t got = pread(map, entries, n * 8, (off_t)(at / PAGE * 8));

        if (got != (ssize_t)(n * 8))
            rc = got < 0 ? -errno : -EIO;
        for (size_t i = 0; i < n && !rc; i++)
            if (entries[i] & (PAGE_PRESENT | PAGE_SWAPPED) && !(entries[i] & PAGE_OF_FILE))
                rc = rewind_page(to, copy, at + i * PAGE, ret_pages);
    }
    close(map);
    return rc;
}

int xstate_get(int tid, uint8_t *area, size_t size, size_t *ret_len)
{
    struct iovec iov = {area, size};

    if (ptrace(PTRACE_GETREGSET, tid, (void *)NT_X86_XSTATE, &iov) < 0)
        return -errno;
    *ret_len = iov.iov_len;
    return 0;
}

int xstate_set(int tid, const uint8_t *area, size_t len)
{
    struct iovec iov = {(void *)area, len};

    return ptrace(PTRACE_SETREGSET, tid, (void *)NT_X86_XSTATE, &iov) < 0 ? -errno : 0;
}
