/* The forms of a patch, and why they are safe: tracee/patching/__init__.py, templates.py. */
#include "place.h"

#include <stdbool.h>
#include <string.h>

#define JUMP_SIZE 5
#define BREAKPOINT 0xcc
/* A stub and its copy of the code, before and behind its entry; pages are mapped for them. */
#define STUB_ROOM 2048
/* The stub refers to data and code about the site, too. */
#define REACH ((1ll << 31) - (160ll << 20))
#define LOWEST 0x10000ll
#define USER_END 0x7ffffffff000ll

/* Bytes that stop a task that executes them as the start of an instruction (TRAPPING in templates.py). */
static const uint8_t trapping[] = {
    BREAKPOINT, 0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f,
    0x60, 0x61, 0x82, 0x9a, 0xce, 0xd4, 0xd6, 0xea, 0xf4,
};

/* What must be in the four bytes of a jump's displacement. */
enum demand { ANY, TRAP, KEPT };
struct displacement {
    enum demand demand[4];
    uint8_t kept[4];
};

/* Whether a stub could have its entry in [low, high]. */
static bool has_room(const struct ranges *ranges, int64_t low, int64_t high)
{
    if (low < LOWEST + STUB_ROOM)
        low = LOWEST + STUB_ROOM;
    if (high > USER_END - STUB_ROOM)
        high = USER_END - STUB_ROOM;
    while (low <= high) {
        uint64_t start = (uint64_t)(low - STUB_ROOM) & ~4095ull;
        const struct range *taken = range_taken(ranges, start, (uint64_t)(low + STUB_ROOM));

        if (!taken)
            return true;
        if (taken->end > USER_END)
            break;
        low = (int64_t)taken->end + STUB_ROOM;
    }
    return false;
}

/* The stubs that the displacement can reach lie where its upper bytes say; what the lower ones
 * demand is left to luck when one above them is free. */
static bool fits(const struct displacement *d, int64_t from, const struct ranges *ranges)
{
    unsigned place = 4, n_values = 1;
    uint32_t base = 0;

    while (place && d->demand[place - 1] == KEPT) {
        place--;
        base |= (uint32_t)d->kept[place] << 8 * place;
    }
    if (place && d->demand[place - 1] == TRAP) {
        place--;
        n_values = sizeof trapping;
    }
    for (unsigned i = 0; i < n_values; i++) {
        uint32_t first = base | (n_values > 1 ? (uint32_t)trapping[i] << 8 * place : 0);
        uint32_t last = first | (uint32_t)((1ull << 8 * place) - 1);
        int64_t low = from + (place == 4 ? -REACH : (int32_t)first);
        int64_t high = from + (place == 4 ? REACH : (int32_t)last);

        if (low < from - REACH)
            low = from - REACH;
        if (high > from + REACH)
            high = from + REACH;
        if (has_room(ranges, low, high))
            return true;
    }
    return false;
}

/* Offsets from the place (bit n) that are known to be entered by a branch or a return. Decoding begins
 * anywhere, and falls into step with the code soon. */
static uint32_t entered(const uint8_t *code, size_t len, size_t at, uint64_t address)
{
    uint64_t start = address - at;
    uint32_t found = 0;

    for (size_t i = 0; i < len;) {
        struct insn insn;
        uint64_t offset;

        insn_decode(code + i, len - i, start + i, &insn);
        if (!insn.len) {
            i++;
            continue;
        }
        i += insn.len;
        offset = (insn.flow == FLOW_CALL ? start + i : insn.target) - address;
        if (offset < 32 && (insn.flow == FLOW_CALL || insn.target))
            found |= 1u << offset;
    }
    return found;
}

/* A jump of the given head (prefixes and opcode) over `span` bytes, of which those at `traps` must trap. */
static bool jump_fits(const uint8_t *code, unsigned head, unsigned span, uint32_t traps,
                      uint64_t address, const struct ranges *ranges)
{
    struct displacement d;

    if (traps & ((1u << head) - 1))
        return false;
    for (unsigned i = 0; i < 4; i++) {
        unsigned offset = head + i;

        d.demand[i] = offset >= span ? KEPT : traps & 1u << offset ? TRAP : ANY;
        d.kept[i] = code[offset];
    }
    return fits(&d, (int64_t)address + head + 4, ranges);
}

static bool patchable(const uint8_t *code, size_t len, size_t at, uint64_t address,
                      const struct ranges *ranges)
{
    const uint8_t *here = code + at;
    size_t left = len - at;
    uint32_t boundaries = 0, targets = 0;
    unsigned span = 0;
    struct insn insn;

    for (unsigned count = 1; span < JUMP_SIZE; count++) {
        insn_decode(here + span, left - span, address + span, &insn);
        if (!insn.len || insn.flags & INSN_FIXED)
            return false;
        if (count == 2)
            targets = entered(code, len, at, address);
        if (targets & 1u << span)
            return false;
        if (count > 1)
            boundaries |= 1u << span;
        span += insn.len;
        if (span >= JUMP_SIZE)
            return jump_fits(here, 1, span, boundaries, address, ranges);
        if (left < span + 4)
            return false;
        /* the end of the displacement is what follows, and stays */
        for (unsigned head = 1; head <= span; head++)
            if (jump_fits(here, head, span, boundaries, address, ranges))
                return true;
        if (insn.flow == FLOW_AWAY || insn.flow == FLOW_JUMP || insn.flow == FLOW_CALL ||
            insn.flow == FLOW_CALL_KERNEL)
            return false;
    }
    return false;
}

enum place_grade place_grade_code(const uint8_t *code, size_t len, size_t at, uint64_t address,
                                  const struct ranges *ranges)
{
    struct insn insn;

    insn_decode(code + at, len - at, address, &insn);
    if (!insn.len || address > USER_END)
        return PLACE_POOR;
    if (patchable(code, len, at, address, ranges))
        return PLACE_PATCHED;
    return insn.flags & INSN_EMULATED ? PLACE_EMULATED : PLACE_POOR;
}

enum place_grade place_grade(const struct mem *m, const struct ranges *ranges, uint64_t address)
{
    uint8_t code[PLACE_BEFORE + PLACE_BEHIND];
    struct insn insn;
    size_t got;

    /* mostly a long instruction, or one whose neighbour happens to suit, tells at once */
    got = mem_read_some(m, address, code, 2 * INSN_MAX);
    insn_decode(code, got, address, &insn);
    if (!insn.len || address > USER_END)
        return PLACE_POOR;
    if (!(insn.flags & INSN_FIXED)) {
        if (insn.len >= JUMP_SIZE)
            return PLACE_PATCHED;
        for (unsigned head = 1; head <= insn.len && got >= insn.len + 4u; head++)
            if (jump_fits(code, head, insn.len, 0, address, ranges))
                return PLACE_PATCHED;
    }
    got = mem_read_some(m, address - PLACE_BEFORE, code, sizeof code);
    if (got > PLACE_BEFORE)
        return place_grade_code(code, got, PLACE_BEFORE, address, ranges);
    got = mem_read_some(m, address, code, PLACE_BEHIND);
    return place_grade_code(code, got, 0, address, ranges);
}
