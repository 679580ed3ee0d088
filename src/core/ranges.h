/* The writable mappings of an address space, which are where a program's state is; and what of it is
 * taken. */
#ifndef RELIVE_RANGES_H
#define RELIVE_RANGES_H

#include <stdbool.h>
#include <stdint.h>

struct range {
    uint64_t start, end;
    bool shared;
};

/* valid: nothing has been mapped or unmapped since they were read. The owner clears it. */
struct ranges {
    struct range *items; /* sorted by address */
    unsigned n;
    struct range *taken; /* all that is mapped, with room for the heap and the stack to grow; sorted, merged */
    unsigned n_taken;
    bool valid;
};

/* Reads /proc/TID/maps, without the agent's and scratch memory (but for `taken`), which are not the
 * program's. 0 or -errno. */
int ranges_read(struct ranges *r, int tid);
void ranges_free(struct ranges *r);
const struct range *range_of(const struct ranges *r, uint64_t addr);
/* What is taken of [start, end): the last of it that is found at once; NULL when all is free. */
const struct range *range_taken(const struct ranges *r, uint64_t start, uint64_t end);

#endif
