/* Reading shared by the params_*.c files. */
#include "params_internal.h"

#include <errno.h>

size_t params_read_iov(const struct mem *m, uint64_t addr, uint64_t count,
                       struct params_iov iov[PARAMS_MAX_IOV], uint32_t *ret_n)
{
    size_t want = params_min(count, PARAMS_MAX_IOV) * sizeof *iov;
    size_t got = addr && want ? mem_read_some(m, addr, iov, want) : 0;

    *ret_n = (uint32_t)(got / sizeof *iov);
    return got;
}

int params_append(const struct mem *m, uint64_t addr, uint64_t len, struct buf *ret,
                  uint64_t *ret_got)
{
    *ret_got = 0;
    while (len > 0) {
        size_t want = params_min(len, PARAMS_PIECE);
        int rc = buf_reserve(ret, want);
        if (rc)
            return rc;
        size_t got = mem_read_some(m, addr, ret->data + ret->len, want);
        ret->len += got;
        *ret_got += got;
        if (got < want)
            break;
        addr += got;
        len -= got;
    }
    return 0;
}
