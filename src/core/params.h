/* What a system call takes from and puts into the memory of the program,
 * worked out from the table (table.h).  Used by the recorder (to log) and by
 * the replayer (to verify): both build the same bytes, so that verifying is
 * one memcmp. */
#ifndef RELIVE_PARAMS_H
#define RELIVE_PARAMS_H

#include "mem.h"
#include "table.h"

/* Input blob: what the program hands to the kernel. A sequence of
 *   u8 arg | u8 what | u16 kept | u32 len | [u64 digest if len > kept] | kept bytes
 * what: 0 block, 1 string (len without the NUL), 2 faulted (len = readable bytes).
 * Blocks keep their first 64 bytes, strings up to 4096, structs named by
 * ARG_IN with SIZE_FIXED up to 256; the digest covers all len bytes. Input parts of
 * INOUT, iovec arrays (as u64 base, u64 len pairs) and msghdr are included. NULL pointers give no
 * item. */
#define IN_KEEP_BLOCK 64
#define IN_KEEP_STRING 4096
#define IN_KEEP_STRUCT 256
#define IN_BLOCK 0
#define IN_STRING 1
#define IN_FAULT 2
/* Returns 0, or -ENOMEM. Unreadable memory is an IN_FAULT item, never an error. */
int params_in(const struct call_desc *d, const uint64_t args[CALL_MAX_ARGS], const struct mem *m,
              struct buf *ret);

/* What must be known from before the call to size its outputs afterwards
 * (value-result lengths, iovec arrays, msghdrs). */
struct params_entry {
    uint64_t args[CALL_MAX_ARGS];
    uint64_t before[CALL_MAX_ARGS]; /* SIZE_PTR32/64 lengths before */
    struct buf saved;               /* iovec/msghdr copies taken at entry; private to params.c */
};
int params_entry_take(const struct call_desc *d, const uint64_t args[CALL_MAX_ARGS],
                      const struct mem *m, struct params_entry *ret);
void params_entry_free(struct params_entry *e);

/* Output blob: u64 addr | u32 len | bytes, repeated: the memory the call wrote,
 * read after it. `result` is the raw return value (negative errno on failure). */
int params_out(const struct call_desc *d, const struct params_entry *e, int64_t result,
               const struct mem *m, struct buf *ret);

/* After a call that failed with EFAULT: it may have written part of its outputs, so all of each
 * (at most 1 MiB), as far as it can be read, is appended. */
int params_out_faulted(const struct call_desc *d, const struct params_entry *e,
                       const struct mem *m, struct buf *ret);

/* Writes an output blob into memory (replay). -EFAULT names the address in *ret_addr. */
int params_apply(const uint8_t *blob, size_t len, const struct mem *m, uint64_t *ret_addr);

/* A call that may block has its outputs redirected to scratch memory, so that no
 * other task sees a half-written buffer. */
struct params_redirect {
    int active;
    uint64_t args[CALL_MAX_ARGS]; /* arguments to make the call with */
    struct params_entry entry;    /* as params_entry_take would give for those arguments */
    struct buf map;               /* struct params_span[] */
};
struct params_span {
    uint64_t real, scratch, len;
};
/* Lays out all OUT/INOUT/IOV_OUT/MSG_OUT/MMSG_OUT blocks of the call in
 * [scratch, scratch+size), copies in what the kernel reads there (value-result lengths,
 * INOUT blocks, rewritten iovec arrays and msghdrs) and gives the arguments to use.
 * 0 with ret->active = 0 when the call writes nothing; -ENOSPC with *ret_need set when
 * scratch is too small; -EFAULT when an input cannot be read (make the call unredirected: it will fail
 * by itself). PI-futex words (ARGF_FUTEX_WORD) are never redirected. */
int params_redirect_make(const struct call_desc *d, const uint64_t args[CALL_MAX_ARGS],
                         const struct mem *m, uint64_t scratch, uint64_t size, uint64_t *ret_need,
                         struct params_redirect *ret);
/* After the call: copies what it wrote from scratch to the program's own memory and
 * appends the output blob with the real addresses (msg_iov and such pointers are
 * not changed in the program's msghdr). */
int params_redirect_finish(const struct call_desc *d, struct params_redirect *r, int64_t result,
                           const struct mem *m, struct buf *ret);
void params_redirect_free(struct params_redirect *r);

/* Where a replay writes what the program wrote. The first `skip` bytes are known to the reader
 * already, from a replay that ended before; `seen` counts all. */
struct echo {
    int fd; /* -1: nowhere */
    uint64_t skip, seen;
};

/* Replay: writes the first `result` bytes that the program handed to a write-like
 * call (ARG_IN sized by an argument, ARG_IOV_IN, ARG_MSG_IN, ARG_MMSG_IN) to `to`. 0 or -errno. */
int params_echo(const struct call_desc *d, const uint64_t args[CALL_MAX_ARGS], int64_t result,
                const struct mem *m, struct echo *to);

#endif
