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

static void parse(struct ranges *r, const char *line)
{
    const char *next;

    for (r->n = 0; *line && r->n < MAX_RANGES; line = next) {
        char *at;
        uint64_t start = strtoull(line, &at, 16), end;

        next = strchr(line, '\n');
        next = next ? next + 1 : line + strlen(line);
        if (*at != '-')
            continue;
        end = strtoull(at + 1, &at, 16);
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
    if (!r->items && !(r->items = malloc(MAX_RANGES * sizeof *r->items)))
        return -ENOMEM;
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

const struct range *range_of(const struct ranges *r, uint64_t addr)
{
    unsigned lo = 0, hi = r->n;

    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;

        if (addr >= r->items[mid].end)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < r->n && addr >= r->items[lo].start ? &r->items[lo] : NULL;
}
