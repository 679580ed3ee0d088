/* The replayer's loop: brings tasks to the events of the log, verifies each,
 * and puts in place what the kernel did. Nothing of the program's own calls is
 * executed (PTRACE_SYSEMU); events that need real work in the task (memory
 * mappings, task creation, exec, exit) go to Python. */
#ifndef RELIVE_REPLAY_H
#define RELIVE_REPLAY_H

#include <time.h>

#include "evread.h"
#include "landmark.h"
#include "params.h"
#include "tracee.h"

enum rp_reason {
    RP_NEED_CHUNK = 0,
    RP_CALL,      /* a call to be done by Python, verified; then replay_finish_call */
    RP_EVENT,     /* an event kind that Python deals with; then replay_next */
    RP_DIVERGED,  /* see struct divergence */
    RP_BAD_LOG,   /* the log contradicts itself; a = where */
    RP_ERROR,     /* a = errno */
    RP_STOPPED,   /* asked to stop before this event */
};

enum diverged {
    DIV_NONE = 0,
    DIV_REGS,      /* register `index`: expected, found */
    DIV_CALL,      /* another call: expected nr, found nr */
    DIV_INPUT,     /* bytes handed to the kernel differ, argument `index` */
    DIV_STOP,      /* another kind of stop: found = wait status */
    DIV_GONE,      /* the task has died: found = wait status */
    DIV_MEMORY,    /* memory to be written is not there: found = address */
    DIV_INSTRUCTION, /* not the trapped instruction expected */
    DIV_NO_TASK,
    DIV_LANDMARK, /* not found before the task's next event; expected = rip, found = status */
    DIV_LOST,     /* no stop at all in a time (found: ns of processor time) that should do */
};

struct divergence {
    enum diverged what;
    unsigned index;
    uint64_t expected, found;
    uint64_t rip;
};

struct rtask {
    uint32_t serial;
    int tid;
    struct mem mem;
    struct ev_base base;
    bool in_call;          /* verified at its entry; its exit event is to come */
    struct regs regs;      /* at that entry */
    const struct call_desc *desc;
    int64_t restart;       /* restart code to be applied when resumed, 0 for none */
};

/* See replay_watch.c. limit: ns of processor time that an interval may take: patience, and factor
 * times what it took when it was recorded; lost: the last stop was made because that was passed. */
#define WATCH_PATIENCE_NS 20000000000ull /* the machine may be busy */
#define WATCH_FACTOR 20
struct watch {
    bool has_timer, lost;
    timer_t timer;
    uint64_t event, start, limit, patience;
    uint32_t serial;
    unsigned factor;
};

struct replayer {
    struct rtask **tasks;
    unsigned n_tasks, cap_tasks;
    struct rtask *last;
    const uint8_t *data;
    size_t len, at;
    uint64_t chunk_no, number;
    struct event_in event;
    bool have_event; /* `event` is decoded and verified, waiting for Python */
    uint64_t stop_at; /* event number before which to stop, UINT64_MAX never */
    struct divergence diverged;
    struct buf in;
    struct echo out, err;
    bool tsc_off;
    uint64_t n_stops;
    uint32_t last_ms, event_ms; /* time of the event before; from it to the event at hand */
    struct watch watch;
    int (*check)(void); /* non-zero: give up with -EINTR */
};

int replayer_init(struct replayer *p);
void replayer_free(struct replayer *p);
/* The bytes stay the caller's and must live until the next feed. */
void replayer_feed(struct replayer *p, const uint8_t *data, size_t len, uint64_t first_event);
int replayer_add(struct replayer *p, uint32_t serial, int tid);
/* A new task id (exec by another thread) or address space. */
int replayer_renew(struct replayer *p, uint32_t serial, int tid);
void replayer_drop(struct replayer *p, uint32_t serial);
struct rtask *replayer_task(struct replayer *p, uint32_t serial);
enum rp_reason replayer_run(struct replayer *p, int *ret_errno);
/* The call Python was asked to do is done: applies outputs and result. */
enum rp_reason replayer_finish_call(struct replayer *p, int *ret_errno);
/* The event is dealt with. */
void replayer_next(struct replayer *p);

/* replay.c, for replay_async.c */
enum rp_reason replay_diverge(struct replayer *p, struct rtask *t, enum diverged what,
                              unsigned index, uint64_t expected, uint64_t found);
/* Does what resuming the task would do first: rewinds to a call that is made again. */
int replay_settle(struct rtask *t);
/* Runs the task to its next stop (0 and the status, or -errno). With watch.lost it was stopped for
 * running too long; the status is PTRACE_EVENT_STOP's then. */
int replay_advance(struct replayer *p, struct rtask *t, int *ret_status);
/* replay_async.c: the supervisor's evaluator, which decides every hit of the landmark's address
 * from outside (the baseline, and the slow twin). The address is armed by hw_break. */
struct search {
    const struct sample_word *words; /* must have these values */
    unsigned n_words;
    bool compare;   /* registers and words; false: hits are counted only */
    uint64_t limit; /* stop at this hit, from 1; 0: none */
};
enum search_end {
    SEARCH_CANDIDATE = 0, /* the task is at a hit with equal registers and words */
    SEARCH_STOP,          /* another stop came first: *ret_status */
    SEARCH_LIMIT,         /* the task is at the hit asked for */
};
/* An enum search_end or -errno. *ret_hits: executions of the address, the one at hand included. */
int replay_search(struct replayer *p, struct rtask *t, const struct search *s, uint64_t *ret_hits,
                  int *ret_status);

/* Lets the task run for about so much processor time, at full speed. 0: it was stopped then;
 * 1: another stop came before, *ret_status tells which; -errno. */
int replay_run_for(struct replayer *p, struct rtask *t, uint64_t ns, int *ret_status);

/* replay_watch.c */
int watch_start(struct replayer *p);
void watch_stop(struct replayer *p);
int watch_wait(struct replayer *p, struct rtask *t, int *ret_status);
/* The time that the task has had is counted from the next look on. */
void watch_anew(struct replayer *p);
/* The time from the event before to the one at hand, and the step of the clock that took it. */
uint64_t watch_interval_ms(const struct replayer *p);

int replayer_spawn(const char *agent_path, int cpu, int *ret_tid);

#endif
