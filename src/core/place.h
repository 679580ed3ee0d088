/* How cheaply a replay could stop at a place. */
#ifndef RELIVE_PLACE_H
#define RELIVE_PLACE_H

#include "insn.h"
#include "mem.h"
#include "ranges.h"

enum place_grade {
    PLACE_POOR = 0,
    PLACE_EMULATED, /* a uprobe could stop there without a step */
    PLACE_PATCHED,  /* a jump could be put there */
};

/* Bytes of code before and behind a place that are looked at. */
#define PLACE_BEFORE 1024
#define PLACE_BEHIND 1024

/* Foretells what tracee/patching would do in a replay with these mappings. In some things it is more careful
 * than that: padding is left alone, and so are the last of the 2 GiB that a jump reaches. */
enum place_grade place_grade(const struct mem *m, const struct ranges *ranges, uint64_t address);
/* The same of code that has been read: `at` is the place's, of `len` bytes in all. */
enum place_grade place_grade_code(const uint8_t *code, size_t len, size_t at, uint64_t address,
                                  const struct ranges *ranges);

#endif
