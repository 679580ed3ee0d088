/* Live programs under breakpoints: the supervisor's loop. Software breakpoints
 * and debug registers in any number of processes and threads; conditions are
 * decided here, and Python hears of candidates only.
 *
 * All functions are called by one thread, which is the tracer. They return 0 or
 * -errno unless said otherwise. */
#ifndef RELIVE_LIVE_H
#define RELIVE_LIVE_H

#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "guardian.h"
#include "livecond.h"
#include "liveinsn.h"
#include "mem.h"
#include "tracee.h"

#define HW_SLOTS 4
#define MAX_COLLECT 32
#define MAX_TOGETHER 16 /* sites at one address */

enum site_kind {
    SITE_CODE,   /* int3 */
    SITE_HW,     /* DR7, execution */
    SITE_WRITE,  /* DR7, data written */
    SITE_ACCESS, /* DR7, data read or written */
};

/* How the instruction under an int3 is executed. */
enum past {
    PAST_STEP,    /* in place, everybody else stopped */
    PAST_SLOT,    /* a copy elsewhere, which jumps back */
    PAST_EMULATE, /* by us */
    PAST_CALL,    /* it is a syscall instruction: made at another one */
};

struct space;

struct site {
    uint32_t id;
    enum site_kind kind;
    struct space *space; /* NULL: its process is gone */
    uint64_t addr;
    unsigned len;       /* data: bytes watched */
    struct cond *when;  /* NULL: every hit is a candidate */
    bool reports;       /* candidates go to Python, from the stop_at-th on */
    uint64_t stop_at;
    unsigned n_collect;
    struct cond *collect[MAX_COLLECT];
    uint64_t hits, candidates, rejected, undecided;
    struct site *next;  /* at the same address */
};

struct patch {
    uint64_t addr;
    uint8_t original;
    uint8_t code[16]; /* the instruction, original bytes */
    struct emu emu;
    bool touches_memory;       /* the emulation would hide an access from a watchpoint */
    enum past past, otherwise; /* the way, and the one when emulation can't */
    uint64_t slot;
    unsigned len;      /* of the instruction, when there is a slot */
    unsigned slot_len; /* of the copy, without the jump back */
    uint32_t guard;
    struct site *sites;
};

/* An address space: a process, with vfork children that still share it. */
struct space {
    uint32_t id;
    pid_t tgid;
    struct mem mem;
    unsigned tasks;
    struct patch **table; /* open addressing, by address */
    size_t n_patches, cap;
    uint64_t *over_addrs; /* the overlay's arrays, ascending */
    uint8_t *over_bytes;
    struct overlay overlay;
    struct gone {
        uint64_t addr;
        uint8_t original;
    } *gone; /* where an int3 was once */
    size_t n_gone;
    uint64_t slot_low, slot_high; /* copies lie between these */
    struct site *hw[HW_SLOTS];
    unsigned n_hw, n_watch;
    bool hw_used;
    uint64_t gadget; /* a syscall instruction */
    uint32_t guard_file;
    bool guarded;
    struct space *next;
};

enum task_state {
    TASK_NEW,     /* its first stop has not been seen */
    TASK_RUNNING,
    TASK_LISTEN,  /* in a group stop */
    TASK_PAUSED,  /* stopped by us, or with a status that waits its turn */
    TASK_HELD,    /* reported; goes on when Python says so */
};

/* A place that a signal interrupted before its instruction was executed: arriving
 * there again with the same registers is the same hit. */
struct again {
    uint64_t addr;
    uint64_t regs[16];
};
#define AGAIN_MAX 8

struct task {
    pid_t tid, tgid;
    struct space *space;
    enum task_state state;
    bool vfork;         /* shares its parent's space until it executes or ends */
    bool has_pending;
    int pending;        /* a wait status not dealt with yet */
    bool fresh;         /* the pending status is its first stop */
    bool stepped;       /* the pending status ends a step that may have hit a watchpoint */
    bool interrupting;  /* PTRACE_INTERRUPT was asked for and not seen */
    bool group;         /* paused out of a group stop */
    bool signal_stop;   /* the stop it is in lets a signal be injected */
    uint64_t at_patch;  /* held before this patched instruction; 0: nowhere */
    struct stash stash; /* signals to be injected */
    struct again again[AGAIN_MAX];
    unsigned n_again;
    pid_t parent;       /* process that forked it */
    int last_signo;     /* what it is let go with */
    int resume_signo;   /* paused: what it is to get when it goes on */
    struct task *next;
};

enum live_kind {
    LIVE_NOTHING,
    LIVE_HIT,
    LIVE_FORK,   /* a child with memory of its own, held at its first stop */
    LIVE_EXEC,   /* held */
    LIVE_EXIT,   /* a process is gone; status */
    LIVE_DRAIN,  /* the collect buffer is filling up */
    LIVE_TRAP,   /* a SIGTRAP of another evaluator, held */
    LIVE_THREAD, /* a new thread, held at its first stop */
    LIVE_EMPTY,  /* no task is left */
};

struct live_hit {
    uint32_t site;
    enum outcome outcome;
    uint64_t hits, candidates;
    int why;         /* of UNDECIDED: EFAULT or EDOM */
    uint64_t fault;
};

struct live_event {
    enum live_kind kind;
    pid_t tid, tgid, other; /* FORK: parent; THREAD: creator */
    uint32_t space, old_space;
    int status;
    int signo, code;        /* TRAP */
    uint64_t addr, data;    /* TRAP: si_addr, perf data or the trap's address */
    unsigned n_hits;
    struct live_hit hits[MAX_TOGETHER];
};

/* A record of the collect buffer, followed by its values, 8 bytes each. */
struct live_record {
    uint32_t site;
    uint32_t tid;
    uint64_t hit;
    uint32_t count;   /* values */
    uint32_t invalid; /* bit i: value i could not be read */
};

struct live_options {
    bool follow;   /* vfork children stay traced when they execute a program */
    bool forks;    /* forks are reported; else they are let go of */
    bool threads;  /* new threads are reported */
    bool one_core; /* this thread moves to the core of the task that hits */
};

struct live {
    struct live_options options;
    struct space *spaces;
    struct task *tasks[256];
    unsigned n_tasks;
    uint32_t next_space, next_site;
    struct site **by_id;
    size_t by_id_cap;
    struct {
        pid_t tid;
        int status;
    } *early; /* new tasks that stopped before their creator's event */
    size_t n_early, early_cap;
    bool frozen;        /* paused by the caller, until it says otherwise */
    unsigned n_waiting; /* tasks with a pending status */
    bool strangers;     /* a child that is not ours waits to be waited for */
    uint8_t *ring;
    size_t ring_len, ring_cap;
    struct live_event *event;
    struct guardian guardian;
    bool has_guardian;
    uint64_t *traps; /* addresses whose int3 is another evaluator's */
    size_t n_traps;
    struct live_range {
        uint64_t low, high;
    } *ranges;       /* other evaluators' code: traps and faults in it are theirs */
    size_t n_ranges;
    uint64_t sigs;   /* signals that other evaluators send: bit signo */
    /* one core */
    cpu_set_t own_cpus;
    bool own_cpus_known, moved;
    int core;
    pid_t last_tid;
    unsigned since_look;
};

int live_create(const struct live_options *options, size_t ring, struct live **ret);
void live_destroy(struct live *l); /* detaches what is left */

/* Seizes all threads of a process and leaves them paused. */
int live_attach(struct live *l, pid_t pid, struct space **ret);
/* Starts a program, paused at its exec. group: its process group, 0 for ours. */
int live_start(struct live *l, const char *path, char *const argv[], char *const envp[],
               pid_t group, struct space **ret);

/* Runs until something is to be told, or for about timeout_ms (-1: for ever).
 * -EINTR: a signal came, the caller should look. */
int live_run(struct live *l, int timeout_ms, struct live_event *ret);
/* Lets a held task go on, with a signal to deliver or 0. */
int live_continue(struct live *l, pid_t tid, int signo);
int live_pause(struct live *l); /* all tasks, until live_unpause */
int live_unpause(struct live *l);
/* Between the two: deals with what tasks had stopped for already, without letting
 * them go on. ret->kind is LIVE_NOTHING when all has been dealt with. */
int live_settle(struct live *l, struct live_event *ret);
/* Restores everything, then lets go of a process (NULL: all). stopped: leaves it
 * stopped as by SIGSTOP. */
int live_detach(struct live *l, struct space *s, bool stopped);
/* Makes a held or paused task execute a system call. */
int live_call(struct live *l, pid_t tid, uint64_t nr, const uint64_t args[6], int64_t *ret);

struct live_new_site {
    enum site_kind kind;
    uint64_t addr;
    unsigned len;
    struct cond *when;
    bool reports;
    uint64_t stop_at;
    unsigned n_collect;
    struct cond *collect[MAX_COLLECT];
    bool may_emulate;
    uint64_t slot; /* 0: none */
    unsigned slot_len, code_len;
};
/* Takes the conditions over, also when it fails. */
int live_arm(struct live *l, struct space *s, const struct live_new_site *n, uint32_t *ret);
int live_disarm(struct live *l, struct site *site);
struct site *live_site(const struct live *l, uint32_t id);

/* livetask.c */
struct task *task_find(const struct live *l, pid_t tid);
int task_create(struct live *l, pid_t tid, pid_t tgid, struct space *s, enum task_state state,
                struct task **ret);
void task_destroy(struct live *l, struct task *t);
int task_go(struct live *l, struct task *t, int signo);
int task_stop(struct live *l, struct task *t);
int task_step(struct live *l, struct task *t); /* 0 stepped, 1: another status is pending */
int task_wait(const struct task *t, int *ret_status);
int tasks_pause(struct live *l, struct space *s); /* NULL: all */
int tasks_unpause(struct live *l, struct space *s);
int task_enter_new(struct live *l, struct task *t, int status);
void task_requeue(const struct task *t, const struct stashed_signal *item);
void task_set_pending(struct live *l, struct task *t, int status);
bool event_stop(int status);
int space_create(struct live *l, pid_t tgid, struct space **ret);
void space_destroy(struct live *l, struct space *s);
struct space *space_find(const struct live *l, uint32_t id);
void space_leave(struct live *l, struct task *t);

/* livesite.c */
struct patch *patch_find(const struct space *s, uint64_t addr);
bool patch_was(const struct space *s, uint64_t addr);
const struct patch *patch_of_slot(const struct space *s, uint64_t rip, uint64_t *ret_addr);
int patches_lift(struct live *l, struct space *s);
int patches_clean_copy(const struct space *from, const struct mem *m);
void again_add(struct task *t, uint64_t addr, const struct regs *r);
int hw_write(const struct space *s, pid_t tid);
int hw_clear(pid_t tid);
int sites_retire(struct live *l, struct space *s);
void sites_destroy(struct live *l);

/* livewait.c */
int live_wait(struct live *l, pid_t *ret_tid, int *ret_status); /* -EINTR, -ECHILD */
void live_follow_core(struct live *l, pid_t tid);
int early_add(struct live *l, pid_t tid, int status);
bool early_take(struct live *l, pid_t tid, int *ret_status);

/* The kernel's si_code values for SIGTRAP (sigaction(2)). */
#define CODE_INT3 0x80 /* SI_KERNEL */
#define CODE_HWBKPT 4
#define CODE_PERF 6

/* livehit.c: 1: an event was made, 0: dealt with, or -errno. */
int on_trap(struct live *l, struct task *t);
int task_pass(struct live *l, struct task *t, struct patch *p, struct regs *r);
int fix_rip(struct live *l, struct task *t);
bool in_foreign_range(const struct live *l, uint64_t addr);
int hold_for_others(struct live *l, struct task *t, const siginfo_t *info, uint64_t addr);

#endif
