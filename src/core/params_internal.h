/* What the params_*.c files share: the kernel's limits, its structs, sizes. */
#ifndef RELIVE_PARAMS_INTERNAL_H
#define RELIVE_PARAMS_INTERNAL_H

#include "params.h"

#include <stdbool.h>
#include <string.h>

/* No call transfers more: MAX_RW_COUNT in include/linux/fs.h, see read(2) NOTES. */
#define PARAMS_MAX_BLOCK UINT64_C(0x7ffff000)
/* UIO_MAXIOV: with more the call fails (readv(2), sendmmsg(2)). */
#define PARAMS_MAX_IOV 1024
/* sizeof(struct sockaddr_storage): a msg_namelen beyond it is cut to it (recvmsg(2)). */
#define PARAMS_MAX_NAME 128
/* Long blocks are read and digested in pieces of this size. */
#define PARAMS_PIECE ((size_t)1 << 20)

/* struct iovec, struct msghdr and struct mmsghdr as a 64-bit program lays them out. */
struct params_iov {
    uint64_t base, len;
};
struct params_msghdr {
    uint64_t name;
    uint32_t namelen, pad0;
    uint64_t iov, iovlen;
    uint64_t control, controllen;
    uint32_t flags, pad1;
};
struct params_mmsghdr {
    struct params_msghdr hdr;
    uint32_t len, pad;
};
_Static_assert(sizeof(struct params_msghdr) == 56, "struct msghdr");
_Static_assert(sizeof(struct params_mmsghdr) == 64, "struct mmsghdr");
#define MSG_NAMELEN_AT 8
#define MSG_CONTROLLEN_AT 40 /* and msg_flags behind it */
#define MMSG_LEN_AT 56

static inline uint64_t params_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* elem * count, at most PARAMS_MAX_BLOCK. */
static inline uint64_t params_times(uint32_t elem, uint64_t count)
{
    if (elem == 0 || count == 0)
        return 0;
    return count > PARAMS_MAX_BLOCK / elem ? PARAMS_MAX_BLOCK : elem * count;
}

/* A length before the call that lies in memory (SIZE_PTR32/64, SIZE_IN_U32), in
 * *ret; 0 when it cannot be read. False: the rule has none. */
static inline bool params_before(const struct arg_desc *a, unsigned i,
                                 const uint64_t args[CALL_MAX_ARGS], const struct mem *m,
                                 uint64_t *ret)
{
    uint64_t from = a->rule == SIZE_IN_U32 ? args[i] : args[a->size_arg];
    size_t n = a->rule == SIZE_PTR64 ? 8 : 4;

    if (a->rule != SIZE_PTR32 && a->rule != SIZE_PTR64 && a->rule != SIZE_IN_U32)
        return false;
    *ret = 0;
    if (from == 0 || mem_read(m, from, ret, n) != 0) /* little-endian: the low half */
        *ret = 0;
    return true;
}

/* Bytes of the block before the call: what the kernel reads of it, or may write. */
static inline uint64_t params_capacity(const struct arg_desc *a,
                                       const uint64_t args[CALL_MAX_ARGS], uint64_t before)
{
    uint64_t n = args[a->size_arg];

    switch ((enum size_rule)a->rule) {
    case SIZE_FIXED:
        return params_min(a->elem, PARAMS_MAX_BLOCK);
    case SIZE_ARG:
    case SIZE_RET:
    case SIZE_RET_MIN:
        return params_times(a->elem, n);
    case SIZE_PTR32:
    case SIZE_PTR64:
        return params_min(before, PARAMS_MAX_BLOCK);
    case SIZE_FDSET: /* the number is an int; the kernel refuses a negative one */
        return (uint32_t)n > INT32_MAX ? 0 : ((uint32_t)n + UINT64_C(63)) / 64 * 8;
    case SIZE_BITS_ARG:
        return params_min(n / 8 + (n % 8 != 0), PARAMS_MAX_BLOCK);
    case SIZE_IN_U32: /* the word itself is always read */
        return params_min(before < 4 ? 4 : before, a->elem);
    }
    return 0;
}

/* The call failed: the return values -1 to -4095 (and the restart codes in there). */
static inline bool params_failed(int64_t result)
{
    return result < 0 && result >= -4095;
}

static inline bool params_writes(uint8_t kind)
{
    return kind == ARG_OUT || kind == ARG_INOUT || kind == ARG_IOV_OUT || kind == ARG_MSG_OUT ||
           kind == ARG_MMSG_OUT;
}

/* How many messages or iovecs an array really has for the kernel. A vector of
 * messages is counted by an unsigned int and cut at UIO_MAXIOV, not refused. */
static inline uint32_t params_vlen(uint64_t n)
{
    return (uint32_t)params_min((uint32_t)n, PARAMS_MAX_IOV);
}

/* Reads an iovec array: `iov` holds what could be read, *ret_n whole entries of
 * at most PARAMS_MAX_IOV; returns the readable bytes. */
size_t params_read_iov(const struct mem *m, uint64_t addr, uint64_t count,
                       struct params_iov iov[PARAMS_MAX_IOV], uint32_t *ret_n);

/* Reads up to `len` bytes at `addr` to the end of `ret`, memory growing with what
 * is there rather than with what is asked for; *ret_got bytes could be read. */
int params_append(const struct mem *m, uint64_t addr, uint64_t len, struct buf *ret,
                  uint64_t *ret_got);

#endif
