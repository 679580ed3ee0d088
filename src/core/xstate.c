/* The extended state: x87, SSE, AVX, AVX-512. */
#include "landmark.h"

#include <cpuid.h>
#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#define XSAVE_HEADER 512
#define XSAVE_SW_RESERVED 464
#define XSAVE_LAST_OPCODE 6
#define XSAVE_MXCSR 24
#define XSAVE_MXCSR_MASK 28

int xstate_values(int tid, uint8_t area[XSTATE_MAX], size_t *ret_len)
{
    struct iovec iov = {area, XSTATE_MAX};

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
    uint8_t area[XSTATE_MAX];
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
    uint8_t now[XSTATE_MAX];
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
