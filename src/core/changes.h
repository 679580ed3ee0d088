/* Memory that changed since the last landmark of an address space.
 *
 * Where code is at, and what its registers point at, does not always tell its state: a function
 * that is called in a loop looks the same each time, and the loop's counter lies in a global
 * variable of its caller's. So a copy of the smaller private writable mappings (the data of modules,
 * a heap, a stack; bounded) is kept while recording. The words in which it differs from
 * the last landmark's are logged with the sample: they are what moves. And digests of all of it are
 * logged: they catch what the words do not tell. */
#ifndef RELIVE_CHANGES_H
#define RELIVE_CHANGES_H

#include <stdbool.h>

#include "mem.h"
#include "ranges.h"

/* Bounds: bytes of memory kept; bytes of changed words logged (the first time, of words that are not 0). */
#define CHANGES_KEPT (4u << 20)
#define CHANGES_LOGGED 4096
#define CHANGES_FIRST (64u << 10)
#define CHANGES_AREAS 160
/* Areas end at its multiples: only what has changed is digested again. */
#define CHANGES_PIECE (64u << 10)

struct area {
    uint64_t start, end;
};

/* bytes: of all areas, one after the other. sums: their digests. */
struct copy {
    struct area areas[CHANGES_AREAS];
    uint64_t sums[CHANGES_AREAS];
    unsigned n;
    uint8_t *bytes;
};

struct changes {
    struct ranges ranges;
    struct copy now, before; /* of this landmark and, while the next is taken, of the last */
};

void changes_free(struct changes *c);
/* Appends changed words (as items of a sample) and the digests (one item at address `digests`), and
 * keeps the memory as it is now. sp: what is dead below it is left out. 0 or -errno. */
int changes_take(struct changes *c, int tid, const struct mem *m, uint64_t sp, uint64_t digests,
                 struct buf *out);
/* Where the copy has these bytes; NULL if it has not all of them. */
const uint8_t *changes_at(const struct changes *c, uint64_t start, uint64_t len);
/* Whether memory has the digests logged. */
int changes_same(int tid, const struct mem *m, const uint8_t *logged, size_t len, int *ret_same);

#endif
