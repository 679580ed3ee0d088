/* The event decoder: walks the events of one chunk in memory. Everything is
 * bounds-checked; the bytes come from a file. */
#ifndef RELIVE_EVREAD_H
#define RELIVE_EVREAD_H

#include "evlog.h"

struct event_in {
    uint64_t number;
    uint32_t size;
    uint8_t kind, flags;
    uint16_t nr;
    uint32_t task, time_ms;
    bool has_regs;
    uint32_t regs_mask;
    const uint8_t *regs; /* popcount(mask) u64, unaligned */
    int64_t result;
    const uint8_t *in, *out, *extra;
    uint32_t in_len, out_len, extra_len;
};

/* Decodes the event at data[at]; 0, or -EBADMSG. */
int event_decode(const uint8_t *data, size_t len, size_t at, struct event_in *ret);
/* Applies the event's register delta to the task's base. */
void event_regs(const struct event_in *e, uint64_t chunk, struct ev_base *base);

#endif
