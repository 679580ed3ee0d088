#include "evlog.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* CLOCK_MONOTONIC_COARSE is read from the vvar page without the time-stamp
 * counter, so it works in a thread whose rdtsc faults. */
uint64_t coarse_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t exact_ns(void)
{
    struct timespec ts;

    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int evlog_init(struct evlog *l)
{
    pthread_condattr_t attr;

    memset(l, 0, sizeof *l);
    pthread_mutex_init(&l->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&l->changed, &attr);
    pthread_condattr_destroy(&attr);
    l->chunk_no = 1;
    l->start_ns = coarse_ns();
    return 0;
}

void evlog_free(struct evlog *l)
{
    for (unsigned i = 0; i < l->count; i++)
        buf_free(&l->queue[(l->head + i) % EV_QUEUE_MAX].bytes);
    buf_free(&l->current.bytes);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
}

/* Moves the current chunk to the queue; the lock is held. */
static void push_current(struct evlog *l)
{
    while (l->count == EV_QUEUE_MAX && !l->discard)
        pthread_cond_wait(&l->changed, &l->lock);
    if (l->discard) {
        buf_clear(&l->current.bytes);
    } else {
        l->queue[(l->head + l->count) % EV_QUEUE_MAX] = l->current;
        l->count++;
        memset(&l->current.bytes, 0, sizeof l->current.bytes);
    }
    l->current.n_events = 0;
    l->chunk_no++;
    pthread_cond_broadcast(&l->changed);
}

static int put_section(struct buf *b, const struct buf *section)
{
    int rc = buf_put_u32(b, (uint32_t)section->len);

    return rc ? rc : buf_put(b, section->data, section->len);
}

static bool present(const struct buf *b)
{
    return b && b->len;
}

static int put_event(struct evlog *l, const struct event_out *e)
{
    struct buf *b = &l->current.bytes;
    size_t start = b->len;
    uint8_t flags = e->flags;
    uint32_t size;
    int rc;

    if (e->regs)
        flags |= EVF_REGS;
    if (e->has_result)
        flags |= EVF_RESULT;
    if (present(e->in))
        flags |= EVF_IN;
    if (present(e->out))
        flags |= EVF_OUT;
    if (present(e->extra))
        flags |= EVF_EXTRA;
    if ((rc = buf_reserve(b, EV_HEADER + 4 + 8 * EV_NREGS + 8)))
        return rc;
    buf_put_u32(b, 0);
    buf_put_u8(b, (uint8_t)e->kind);
    buf_put_u8(b, flags);
    buf_put_u16(b, e->nr);
    buf_put_u32(b, e->task);
    buf_put_u32(b, (uint32_t)((coarse_ns() - l->start_ns) / 1000000u));
    if (e->regs) {
        size_t at = b->len;
        uint32_t mask = 0;

        if (e->base->chunk != l->chunk_no) {
            memset(e->base->regs, 0, sizeof e->base->regs);
            e->base->chunk = l->chunk_no;
        }
        buf_put_u32(b, 0);
        for (unsigned i = 0; i < EV_NREGS; i++) {
            if (e->regs[i] == e->base->regs[i])
                continue;
            mask |= 1u << i;
            e->base->regs[i] = e->regs[i];
            buf_put_u64(b, e->regs[i]);
        }
        memcpy(b->data + at, &mask, sizeof mask);
    }
    if (e->has_result)
        buf_put_u64(b, (uint64_t)e->result);
    if ((flags & EVF_IN) && (rc = put_section(b, e->in)))
        goto undo;
    if ((flags & EVF_OUT) && (rc = put_section(b, e->out)))
        goto undo;
    if ((flags & EVF_EXTRA) && (rc = put_section(b, e->extra)))
        goto undo;
    size = (uint32_t)(b->len - start);
    memcpy(b->data + start, &size, sizeof size);
    l->current.n_events++;
    l->n_events++;
    return 0;
undo:
    b->len = start;
    return rc;
}

int evlog_put(struct evlog *l, const struct event_out *e)
{
    size_t need = EV_HEADER + 4 + 8 * EV_NREGS + 8 + 12;
    int rc = 0;

    need += (e->in ? e->in->len : 0) + (e->out ? e->out->len : 0) + (e->extra ? e->extra->len : 0);
    pthread_mutex_lock(&l->lock);
    if (l->discard) {
        l->n_events++;
        goto done;
    }
    if (l->current.n_events && l->current.bytes.len + need > EV_CHUNK_BYTES)
        push_current(l);
    if (!l->current.bytes.cap && (rc = buf_reserve(&l->current.bytes, EV_CHUNK_BYTES)))
        goto done;
    rc = put_event(l, e);
done:
    pthread_mutex_unlock(&l->lock);
    return rc;
}

void evlog_close(struct evlog *l)
{
    pthread_mutex_lock(&l->lock);
    l->closed = true;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
}

void evlog_discard(struct evlog *l)
{
    pthread_mutex_lock(&l->lock);
    l->discard = true;
    while (l->count) {
        buf_free(&l->queue[l->head].bytes);
        l->head = (l->head + 1) % EV_QUEUE_MAX;
        l->count--;
    }
    buf_clear(&l->current.bytes);
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
}

int evlog_take(struct evlog *l, int timeout_ms, struct ev_chunk *ret)
{
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_mutex_lock(&l->lock);
    while (!l->count && !l->closed && !rc)
        rc = pthread_cond_timedwait(&l->changed, &l->lock, &until);
    if (!l->count && l->current.n_events && !l->discard)
        push_current(l);
    if (l->count) {
        *ret = l->queue[l->head];
        memset(&l->queue[l->head], 0, sizeof l->queue[l->head]);
        l->head = (l->head + 1) % EV_QUEUE_MAX;
        l->count--;
        pthread_cond_broadcast(&l->changed);
        rc = 1;
    } else {
        rc = l->closed ? -1 : 0;
    }
    pthread_mutex_unlock(&l->lock);
    return rc;
}
