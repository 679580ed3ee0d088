#include "ranges.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mem.h"
#include "tracee.h"

#define MAX_RANGES 4096
/* Scratch memory ends there (record_calls.c). */
#define SCRATCH_END 0x80000000ul

static int read_all(int fd, struct buf *text)
{
    for (;;) {
        ssize_t n;
        int rc;

        if ((rc = buf_reserve(text, 16384)))
            return rc;
        n = read(fd, text->data + text->len, text->cap - text->len - 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (!n)
            break;
        text->len += (size_t)n;
    }
    text->data[text->len] = 0;
    return 0;
}

/* Room is left as the patcher leaves it (tracee/patching/arenas.py). */
#define HEAP_ROOM (1ull << 30)
#define STACK_ROOM (256ull << 20)

static bool named(const char *line, const char *next, const char *name)
{
    size_t len = strlen(name);

    while (next > line && (next[-1] == '\n' || next[-1] == ' '))
        next--;
    return (size_t)(next - line) >= len && !memcmp(next - len, name, len);
}

static void take(struct ranges *r, uint64_t start, uint64_t end)
{
    /* the room below the stack may reach below mappings that were read before */
    for (; r->n_taken && r->taken[r->n_taken - 1].start >= start; r->n_taken--)
        if (r->taken[r->n_taken - 1].end > end)
            end = r->taken[r->n_taken - 1].end;
    if (r->n_taken && start <= r->taken[r->n_taken - 1].end) {
        if (end > r->taken[r->n_taken - 1].end)
            r->taken[r->n_taken - 1].end = end;
    } else if (r->n_taken == MAX_RANGES) {
        r->taken[r->n_taken - 1].end = UINT64_MAX; /* not known: not free */
    } else {
        r->taken[r->n_taken++] = (struct range){start, end, false};
    }
}

static void parse(struct ranges *r, const char *line)
{
    const char *next;

    r->n_taken = 0;
    for (r->n = 0; *line; line = next) {
        char *at;
        uint64_t start = strtoull(line, &at, 16), end;

        next = strchr(line, '\n');
        next = next ? next + 1 : line + strlen(line);
        if (*at != '-')
            continue;
        end = strtoull(at + 1, &at, 16);
        take(r, named(line, next, "[stack]") ? start - STACK_ROOM : start,
             named(line, next, "[heap]") ? end + HEAP_ROOM : end);
        if (r->n == MAX_RANGES)
            continue;
        /* " rw-p" */
        if (next - at < 5 || at[1] != 'r' || at[2] != 'w' ||
            (start >= AGENT_TEXT && start < SCRATCH_END))
            continue;
        r->items[r->n++] = (struct range){start, end, at[4] == 's'};
    }
}

int ranges_read(struct ranges *r, int tid)
{
    struct buf text = {0};
    char path[40];
    int fd, rc;

    r->valid = false;
    if (!r->items && !(r->items = malloc(2 * MAX_RANGES * sizeof *r->items)))
        return -ENOMEM;
    r->taken = r->items + MAX_RANGES;
    snprintf(path, sizeof path, "/proc/%d/maps", tid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (!(rc = read_all(fd, &text))) {
        parse(r, (const char *)text.data);
        r->valid = true;
    }
    buf_free(&text);
    close(fd);
    return rc;
}

void ranges_free(struct ranges *r)
{
    free(r->items);
    *r = (struct ranges){0};
}

/* The first that ends behind an address, NULL when there is none. */
static const struct range *first_behind(const struct range *items, unsigned n, uint64_t addr)
{
    unsigned lo = 0, hi = n;

    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;

        if (addr >= items[mid].end)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n ? &items[lo] : NULL;
}

const struct range *range_of(const struct ranges *r, uint64_t addr)
{
    const struct range *found = first_behind(r->items, r->n, addr);

    return found && addr >= found->start ? found : NULL;
}

const struct range *range_taken(const struct ranges *r, uint64_t start, uint64_t end)
{
    const struct range *found = first_behind(r->taken, r->n_taken, start);

    return found && found->start < end ? found : NULL;
}
