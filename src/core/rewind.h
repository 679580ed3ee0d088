/* Putting a task back to where it was: memory from a forked copy, and the extended state. */
#ifndef RELIVE_REWIND_H
#define RELIVE_REWIND_H

#include <stddef.h>
#include <stdint.h>

#include "mem.h"

/* Makes the pages of [start, end) that are the process's own (of a private mapping, and touched:
 * pagemap) equal to the copy's. Pages that the copy does not have (a stack has grown) become zeros.
 * 0 or -errno; *ret_pages counts what was written. */
int rewind_memory(int tid, const struct mem *to, const struct mem *copy, uint64_t start,
                  uint64_t end, uint64_t *ret_pages);

/* The extended state as PTRACE_GETREGSET gives it; at most `size` bytes. 0 or -errno. */
int xstate_get(int tid, uint8_t *area, size_t size, size_t *ret_len);
int xstate_set(int tid, const uint8_t *area, size_t len);

#endif
