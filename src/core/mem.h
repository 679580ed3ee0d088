/* A tracee's memory, through /proc/TID/mem, and a growable byte buffer. */
#ifndef RELIVE_MEM_H
#define RELIVE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct mem {
    int fd; /* /proc/TID/mem, O_RDWR | O_CLOEXEC */
};

/* All return 0, or -errno (-EFAULT when unmapped). mem_read and mem_write
 * transfer everything or fail; mem_read_some returns how many bytes could be
 * read from the start (0..len). */
int mem_open(struct mem *m, int tid);
void mem_close(struct mem *m);
int mem_read(const struct mem *m, uint64_t addr, void *to, size_t len);
int mem_write(const struct mem *m, uint64_t addr, const void *from, size_t len);
size_t mem_read_some(const struct mem *m, uint64_t addr, void *to, size_t len);
/* Reads pieces of a task's memory, one after the other, in one call, which is twice as fast as
 * through the file. Whether all of it could be read (no more than 1024 pieces, 2 GiB). */
bool remote_read(int tid, void *to, size_t len, const struct iovec *pieces, unsigned n);

/* Growable bytes. Every function returns 0 or -ENOMEM. */
struct buf {
    uint8_t *data;
    size_t len, cap;
};
int buf_reserve(struct buf *b, size_t more);
int buf_put(struct buf *b, const void *from, size_t len);
int buf_put_u8(struct buf *b, uint8_t v);
int buf_put_u16(struct buf *b, uint16_t v);
int buf_put_u32(struct buf *b, uint32_t v);
int buf_put_u64(struct buf *b, uint64_t v);
void buf_clear(struct buf *b); /* keeps the memory */
void buf_free(struct buf *b);

/* 64-bit digest of bytes; streaming-free, same on every machine.
 * Python twin: relive.trace.digest. */
uint64_t digest64(const void *data, size_t len, uint64_t seed);

/* Digest of a private mapping's pages in [start, end) that are the process's own; pages of zeros count
 * for nothing. scan: by PAGEMAP_SCAN where the kernel has it. 0 or -errno. */
int digest_own_pages(int tid, const struct mem *m, uint64_t start, uint64_t end, bool scan,
                     uint64_t *ret);
/* The same of all pages that can be read. start: a page's. */
uint64_t digest_all_pages(const struct mem *m, uint64_t start, uint64_t end);

#endif
