/* The table of system calls and how a call finds its line in it. */
#include "table.h"

#include <stddef.h>

/* Generated at build time by src/relive/syscalls/encode.py: defines relive_calls. */
#include "table_data.inc"

const struct call_desc *call_lookup(uint64_t nr, const uint64_t args[CALL_MAX_ARGS])
{
    const struct call_table *t = &relive_calls;

    if (nr >= CALL_MAX_NR)
        return NULL;
    const struct call_variant *v = t->variants + t->variant_first[nr];
    for (uint32_t n = t->variant_count[nr]; n > 0; n--, v++) {
        if ((args[v->arg] & v->mask) == v->value)
            return &t->descs[v->desc];
    }
    uint32_t at = t->by_nr[nr];
    return at == UINT32_MAX ? NULL : &t->descs[at];
}
