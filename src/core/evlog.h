/* The event encoder: events are appended to a chunk buffer in memory; full (or,
 * on demand, partial) chunks wait in a short queue for the writer thread, so
 * memory stays bounded.  The byte layout is drawn in docs/format.md. */
#ifndef RELIVE_EVLOG_H
#define RELIVE_EVLOG_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/user.h>

#include "mem.h"

#define EV_NREGS 27
#define EV_HEADER 16
#define EV_CHUNK_BYTES (1u << 20)
#define EV_QUEUE_MAX 6

enum ev_kind {
    EV_META = 1,
    EV_TASK_NEW = 2,
    EV_SYSCALL = 3,
    EV_ENTRY = 4,
    EV_EXIT = 5,
    EV_SIGNAL = 6,
    EV_REGS = 7,
    EV_TRAP = 8,
    EV_TASK_EXIT = 9,
    EV_MEMWRITE = 10,
    EV_MEMORY = 11,
    EV_END = 12,
    EV_NOTE = 13,
    EV_LANDMARK = 14,
};

/* Section bits of the flags byte; the three high bits belong to the kind. */
#define EVF_REGS 0x01
#define EVF_RESULT 0x02
#define EVF_IN 0x04
#define EVF_OUT 0x08
#define EVF_EXTRA 0x10
#define EVF_ECHO_OUT 0x20   /* SYSCALL, EXIT: bytes went to the recorder's stdout */
#define EVF_ECHO_ERR 0x40   /* ... to its stderr */
#define EVF_SIG_SYNC 0x20   /* SIGNAL: the instruction caused it */
#define EVF_MARK_ENTRY 0x40 /* LANDMARK: placed just before the system call reached */
#define EVF_SIG_FATAL 0x80  /* SIGNAL: ends the process */
#define EVF_REGS_XINIT 0x20 /* REGS: extended state becomes initial */
#define EVF_REGS_XFRAME 0x40 /* REGS: extended state comes from the signal frame left */

#define TRAP_RDTSC 0
#define TRAP_RDTSCP 1
#define TRAP_CPUID 2

/* The registers last logged for a task, valid for one chunk: the delta's base. */
struct ev_base {
    uint64_t chunk; /* chunk number the base belongs to, 0 for none */
    uint64_t regs[EV_NREGS];
};

struct event_out {
    enum ev_kind kind;
    uint8_t flags; /* kind-specific bits; section bits are set from what is given */
    uint16_t nr;
    uint32_t task;
    const uint64_t *regs; /* EV_NREGS, or NULL */
    struct ev_base *base; /* with regs */
    bool has_result;
    int64_t result;
    const struct buf *in, *out, *extra; /* NULL or empty: no section */
};

struct ev_chunk {
    struct buf bytes;
    uint32_t n_events;
};

struct evlog {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct ev_chunk current;
    struct ev_chunk queue[EV_QUEUE_MAX];
    unsigned head, count;
    uint64_t chunk_no; /* of `current`, from 1 */
    uint64_t n_events;
    uint64_t start_ns;
    bool discard; /* the writer failed: events are counted and dropped */
    bool closed;
};

int evlog_init(struct evlog *l);
void evlog_free(struct evlog *l);
/* 0 or -ENOMEM. Blocks while the queue is full. */
int evlog_put(struct evlog *l, const struct event_out *e);
/* No more events: the writer gets what is left and then the end. */
void evlog_close(struct evlog *l);
void evlog_discard(struct evlog *l);
/* Writer side: takes the oldest chunk (a partial one after timeout_ms without a full one). 1: *ret is filled
 * (caller frees bytes), 0: nothing within the time, -1: closed and empty. */
int evlog_take(struct evlog *l, int timeout_ms, struct ev_chunk *ret);

/* CLOCK_MONOTONIC: of the last timer tick (cheap), and exact (a system call: the vDSO would execute
 * rdtsc, which faults in the supervising thread). Nanoseconds. */
uint64_t coarse_ns(void);
uint64_t exact_ns(void);

#endif
