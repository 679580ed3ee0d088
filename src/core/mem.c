/* A tracee's memory through /proc/TID/mem, and a growable byte buffer.
 *
 * /proc/TID/mem rather than process_vm_readv: one descriptor opened once, no
 * iovec to set up, and writes go through to pages that the program itself may
 * not write (FOLL_FORCE, proc(5)), which the replayer needs. */
#define _GNU_SOURCE
#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int mem_open(struct mem *m, int tid)
{
    char path[32];
    int n = snprintf(path, sizeof path, "/proc/%d/mem", tid);

    m->fd = -1;
    if (n < 0 || (size_t)n >= sizeof path)
        return -EINVAL;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    m->fd = fd;
    return 0;
}

void mem_close(struct mem *m)
{
    if (m->fd >= 0)
        close(m->fd);
    m->fd = -1;
}

/* What a failed transfer says about the memory. EIO is the kernel's word for
 * "no page there"; EINVAL and EOVERFLOW are addresses that no file offset can
 * express, which therefore no page can have. */
static int fault_of(int err)
{
    return err == EIO || err == EINVAL || err == EOVERFLOW ? -EFAULT : -err;
}

/* Reads until `len`, a fault or the end of the process; the error, if any, in *ret_err. */
static size_t read_upto(const struct mem *m, uint64_t addr, void *to, size_t len, int *ret_err)
{
    size_t done = 0;

    *ret_err = 0;
    while (done < len) {
        ssize_t n = pread(m->fd, (uint8_t *)to + done, len - done, (off_t)(addr + done));
        if (n > 0) {
            done += (size_t)n;
        } else if (n == 0) {
            *ret_err = -ESRCH; /* the address space is gone: exec or exit */
            break;
        } else if (errno != EINTR) {
            *ret_err = fault_of(errno);
            break;
        }
    }
    return done;
}

int mem_read(const struct mem *m, uint64_t addr, void *to, size_t len)
{
    int err;
    return read_upto(m, addr, to, len, &err) == len ? 0 : err;
}

size_t mem_read_some(const struct mem *m, uint64_t addr, void *to, size_t len)
{
    int err;
    return read_upto(m, addr, to, len, &err);
}

bool remote_read(int tid, void *to, size_t len, const struct iovec *pieces, unsigned n)
{
    struct iovec here = {to, len};

    return !len || process_vm_readv(tid, &here, 1, pieces, n, 0) == (ssize_t)len;
}

int mem_write(const struct mem *m, uint64_t addr, const void *from, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n =
            pwrite(m->fd, (const uint8_t *)from + done, len - done, (off_t)(addr + done));
        if (n > 0)
            done += (size_t)n;
        else if (n == 0)
            return -ESRCH;
        else if (errno != EINTR)
            return fault_of(errno);
    }
    return 0;
}

int buf_reserve(struct buf *b, size_t more)
{
    if (more <= b->cap - b->len)
        return 0;
    if (more > SIZE_MAX / 2 - b->len)
        return -ENOMEM;
    size_t want = b->len + more;
    size_t cap = b->cap < 128 ? 256 : b->cap * 2; /* doubling: appends stay linear in all */
    if (cap < want)
        cap = want;
    uint8_t *data = realloc(b->data, cap);
    if (!data)
        return -ENOMEM;
    b->data = data;
    b->cap = cap;
    return 0;
}

int buf_put(struct buf *b, const void *from, size_t len)
{
    if (len == 0)
        return 0;
    int rc = buf_reserve(b, len);
    if (rc)
        return rc;
    memcpy(b->data + b->len, from, len);
    b->len += len;
    return 0;
}

int buf_put_u8(struct buf *b, uint8_t v)
{
    return buf_put(b, &v, sizeof v);
}

/* Byte by byte: little-endian by definition; the compiler makes one store of it. */
int buf_put_u16(struct buf *b, uint16_t v)
{
    uint8_t le[2] = {(uint8_t)v, (uint8_t)(v >> 8)};
    return buf_put(b, le, sizeof le);
}

int buf_put_u32(struct buf *b, uint32_t v)
{
    uint8_t le[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
    return buf_put(b, le, sizeof le);
}

int buf_put_u64(struct buf *b, uint64_t v)
{
    uint8_t le[8];
    for (int i = 0; i < 8; i++)
        le[i] = (uint8_t)(v >> (8 * i));
    return buf_put(b, le, sizeof le);
}

void buf_clear(struct buf *b)
{
    b->len = 0;
}

void buf_free(struct buf *b)
{
    free(b->data);
    b->data = NULL;
    b->len = b->cap = 0;
}
