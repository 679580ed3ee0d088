/* The writable mappings of an address space, which are where a program's state is. */
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
    bool valid;
};

/* Reads /proc/TID/maps, without the agent's and scratch memory, which are not the program's.
 * 0 or -errno. */
int ranges_read(struct ranges *r, int tid);
void ranges_free(struct ranges *r);
const struct range *range_of(const struct ranges *r, uint64_t addr);

#endif
