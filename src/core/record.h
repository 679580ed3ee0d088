/* The recorder's loop: which task runs, what a stop means, what is logged.
 *
 * Only the current task executes user code. A task whose call sleeps becomes
 * BLOCKED: others run, and the stop that ends its call waits in `status` until
 * the scheduler comes back to it; so events are totally ordered by when they
 * are processed, never by when the kernel got ready.
 *
 * Calls without a handler in Python are dealt with here entirely, driven by
 * the table. record_run() returns to Python with a reason for everything else. */
#ifndef RELIVE_RECORD_H
#define RELIVE_RECORD_H

#include <signal.h>
#include <stdbool.h>
#include <time.h>

#include "changes.h"
#include "evlog.h"
#include "params.h"
#include "tracee.h"

enum run_state {
    RUN_STOPPED = 0, /* at a stop that has been dealt with; may be resumed */
    RUN_RUNNING,     /* resumed and waited for */
    RUN_BLOCKED,     /* resumed, asleep in the kernel (or dying): its status comes later */
    RUN_PARKED,      /* group stop: listening */
};

enum reason {
    WHY_NOTHING_LEFT = 0,
    WHY_ENTRY,      /* a call with a Python handler begins */
    WHY_EXIT,       /* a call with a Python handler has ended */
    WHY_SIGNAL,     /* signal-delivery-stop; a = signal, b = enum signal_place */
    WHY_EVENT,      /* ptrace event; a = event, b = message */
    WHY_GONE,       /* exited or killed; a = wait status */
    WHY_REFUSED,    /* a call was refused for the first time; a = number, b = 1: unknown, 2: not by syscall */
    WHY_STEPPED,    /* the single step asked for has ended */
    WHY_WRITTEN,    /* a file was written to while shared file mappings exist */
    WHY_OPENED,     /* a path in /dev or /proc was opened; a = descriptor */
    WHY_NEW_TASK,   /* an unknown task has stopped for the first time; a = tid */
    WHY_INTERRUPTED, /* record_interrupt was called */
    WHY_LANDMARK,   /* a preemption (or a call) has been logged, and `verify` asks to be told */
    WHY_ERROR,      /* a = errno of the recorder's own failure */
};

/* Where in the execution a signal-delivery-stop stands. */
enum signal_place {
    SIGNAL_AT_BOUNDARY = 0, /* nothing executed since the last event of the task */
    SIGNAL_SYNC = 1,        /* the instruction at rip caused it */
    SIGNAL_IN_USER = 2,     /* anywhere in user code */
};

/* A place where tasks wait in a loop for memory to change (spin.c). */
struct spin_site {
    uint64_t address;
    uint64_t found; /* when it was found the last time, by r->n_spins_found */
    bool armed;
    unsigned misses, times;
    unsigned penalty, owed;
};
#define SPIN_SITES 16
/* Sites in a task's debug registers 0 to 2; 3 is for a look. */
#define SPIN_ARMED 3

struct mm_info {
    uint32_t id;
    uint32_t tasks;
    bool shares; /* has memory shared with another address space */
    struct {
        uint64_t start, size;
    } pool[32]; /* scratch memory of ended threads */
    unsigned n_pool;
    struct changes changes; /* its memory at its last landmark */
    struct spin_site spins[SPIN_SITES];
    uint64_t spin_generation; /* of its armed sites; 0: there has been none */
    bool no_spins;            /* debug registers can't be used: the program minds SIGTRAP */
    unsigned spins_late;      /* slices of late that ended in a loop that waits, less those that did not */
    uint64_t clock_site;      /* where a task waited by reading the time-stamp counter, 0: nowhere */
    int trap_asked;           /* the process whose SIGTRAP was asked for, 0: none */
    bool trap_ignored;        /* the answer */
};

/* Readings of the time-stamp counter in a row, by the same instruction (clock_spin.c). */
struct clock_readings {
    struct regs regs; /* at the last one */
    uint64_t sum;     /* digest of memory at the last one, if `summed` */
    unsigned times;   /* with the same registers */
    unsigned misses;  /* in a row at a place where tasks waited before */
    bool summed;
    bool waits;
};

/* What settling has found out about a place (settle.c). */
struct known_place {
    uint64_t address;
    uint32_t mm;
    uint8_t grade; /* the best that comes after it */
    uint8_t uses;  /* that are left */
};
#define KNOWN_PLACES 256u

struct task {
    uint32_t serial;
    int tid, tgid;
    enum run_state state;
    bool has_status;
    int status;
    struct mem mem;
    struct mm_info *mm;

    /* the call under way */
    bool in_call, entry_logged, exit_pending, emulated, args_changed, exit_ready;
    bool may_sleep;
    bool sleeps_deep; /* it waits for other tasks in uninterruptible sleep: vfork, a thread's exec */
    bool settles; /* others wait until it really sleeps: its call writes memory before that */
    struct regs regs;     /* the program's at its last call entry */
    const struct call_desc *desc;
    struct params_entry entry;
    struct params_redirect redirect;
    bool redirected;
    int64_t result;
    uint8_t echo;
    struct buf in, out, extra;
    struct ev_base base;

    /* the call that restart_syscall goes on with */
    const struct call_desc *restart_desc;
    uint64_t restart_args[6];
    bool restart_redirected;

    /* how to resume */
    int request, sig;
    bool stepping;
    bool spinning;   /* it waits in a loop, and nothing but a short slice will notice */
    bool spun;       /* its last turn ended so */
    bool spin_quiet; /* its sites are not armed until its next turn */
    uint64_t spin_generation; /* of the sites in its debug registers, 0 for none */
    struct {
        uint64_t address, when;
    } waited[SPIN_ARMED]; /* the sites where it waited last, by r->n_spins_found */
    bool at_site; /* its last stop was at a spin site: */
    struct regs site_regs;
    uint64_t site_sum; /* digest of memory, if it is to be compared */
    struct clock_readings readings;
    bool preempting; /* an interrupt has been sent and not been seen yet */
    bool fresh;  /* has executed nothing since its last event, and no call number tells it */
    bool rewound; /* has executed nothing since it was put back before the call that it had reached */
    bool marked; /* fresh or rewound when resumed: see mark_fresh */
    bool unplaced; /* has run since its last event, and no event will tell how far: goes on first */
    bool left_stop; /* it was moved on from a group stop, which it has to go back to */
    bool dying; /* past its exit event, or killed */

    uint64_t scratch, scratch_size;
    bool no_remote; /* a filter of the program's own may refuse remote calls */
    struct stash stash;
    struct stashed_signal raised; /* from the stash, raised anew and not seen yet; signo 0: none */
};

/* What Python is told of, to log digests of memory. */
enum verify {
    VERIFY_NOTHING = 0,
    VERIFY_LANDMARKS, /* preemptions */
    VERIFY_ALL,       /* and calls */
};

/* Readings of the time-stamp counter, each with the time it was made. */
struct tsc_clock {
    uint64_t first, first_ns, last, last_ns;
    uint64_t told; /* to a program, last */
    double rate;   /* ticks in a nanosecond; 0: not known yet */
};

struct recorder {
    struct task **tasks; /* in the order of their serials */
    unsigned n_tasks, cap_tasks;
    struct mm_info **mms;
    unsigned n_mms, cap_mms;
    struct task *current, *waiting; /* waiting: its wait was interrupted by a signal to us */
    struct evlog log;
    uint64_t scratch_next;
    uint64_t slice_ns, slice_start;
    /* Chaos: who runs next and for how long is drawn from a seed that is in the recording. */
    bool chaos;
    uint64_t random, drawn_slice_ns;
    uint32_t favoured, shunned; /* serials of tasks that run whenever they can, only when no other can; or 0 */
    uint64_t priorities_until_ns;
    bool rotate; /* let another task run at the next chance */
    bool watch_writes;
    int echo_fds[16];
    uint8_t echo_bits[16];
    unsigned n_echo;
    uint8_t refused[CALL_MAX_NR / 8 + 1];
    uint8_t *refused_desc;
    struct {
        int tid, status;
    } strangers[256];
    unsigned n_strangers;
    volatile int interrupt;
    bool has_timer;
    uint64_t n_stops, n_switches, n_settled, n_steps;
    struct known_place places[KNOWN_PLACES];
    bool tsc_off;
    struct tsc_clock tsc;
    enum verify verify;
    bool no_debug_registers;
    uint64_t spin_generation, n_spins_found;
    struct changes look; /* for digests of memory */
};

struct reason_info {
    enum reason why;
    uint32_t serial;
    int64_t a, b;
};

int recorder_init(struct recorder *r);
void recorder_free(struct recorder *r);

/* Forks and executes; the child is seized before it executes anything and
 * stopped at its exec event. -errno of the exec when it fails. */
int recorder_spawn(const char *path, char *const argv[], char *const envp[], int cpu, int *ret_tid);

int recorder_add(struct recorder *r, uint32_t serial, int tid, int tgid, uint32_t mm);
void recorder_drop(struct recorder *r, struct task *t);
struct task *recorder_task(struct recorder *r, uint32_t serial);
int recorder_set_mm(struct recorder *r, struct task *t, uint32_t mm);
int recorder_run(struct recorder *r, struct reason_info *ret);

/* chaos.c */
void chaos_start(struct recorder *r, uint64_t seed);
/* At each switch: how long the next task may run, and sometimes whom to favour and to shun. */
void chaos_draw(struct recorder *r, uint64_t now_ns);
/* Whether to switch after the call just ended. */
bool chaos_switches(struct recorder *r);
/* One of the tasks that can go on, NULL when none can. */
struct task *chaos_pick(struct recorder *r);
bool task_runnable(const struct task *t);

/* Collects stops: whether another task can go on. */
bool recorder_others_ready(struct recorder *r, const struct task *t);

/* spin.c */
/* Before a task goes on: its debug registers. 0 or -errno. */
int spin_before_run(struct recorder *r, struct task *t);
/* Takes note of the call that has ended. */
void spin_after_call(struct recorder *r, struct task *t);
/* Whether a debug register made it stop: a recorded program has none of its own. */
bool spin_is_hit(const struct task *t, int status);
/* *ret_waits: the task waits there, and it is another's turn. */
int spin_hit(struct recorder *r, struct task *t, bool *ret_waits);
/* Digest of what a landmark would hold of memory. */
int spin_digest(struct recorder *r, struct task *t, const struct regs *regs, uint64_t *ret);
/* Takes its sites out of a stopped task's debug registers, until it goes on. */
int spin_disarm(struct task *t);
/* Whether a trap would take the program's disposition of SIGTRAP away. */
bool spin_trap_ignored(const struct task *t);
/* Finds out whether a task whose slice is over spins. It may run on a little. 0; 1: it came to
 * another stop, which waits in its status; or -errno. */
int spin_look(struct recorder *r, struct task *t, const struct regs *regs);

/* record_async.c: stops anywhere in user code. */
int recorder_tick_start(struct recorder *r);
/* Sets the tick that suits the current task. */
void recorder_tick_set(struct recorder *r);
void recorder_tick_every(struct recorder *r, uint64_t ns);
void recorder_tick_stop(struct recorder *r);
bool recorder_ticked(void); /* and takes note */
/* How long a task may run user code while others wait. */
uint64_t slice_of(const struct recorder *r, const struct task *t);
/* Sends the interrupt that ends a time slice. */
int preempt(struct task *t);
/* Equal registers do not tell that nothing was executed: a loop may have all its state in memory.
 * So a task that goes on from its last event carries a mark in orig_rax, which the kernel replaces
 * at every entry from user code (arch/x86/entry/entry_64.S: -1, or the call's number). */
int mark_fresh(struct task *t);
int unmark_fresh(struct task *t);
/* A stop of a task that was put back before a call. Its registers are not the program's there (the
 * kernel's entry has changed rcx and r11), so no landmark would find it again: its place is logged as
 * "before the call that is reached", and it is fresh then. */
int place_rewound(struct recorder *r, struct task *t);
/* It was stopped at a spin site. */
int spun(struct recorder *r, struct task *t, struct reason_info *ret);
/* The trap that the interrupt made. */
int preempted(struct recorder *r, struct task *t, struct reason_info *ret);
/* A group stop: the threads of a stopped process may be anywhere. */
int parked(struct recorder *r, struct task *t, struct reason_info *ret);
/* The task reached a system call before the interrupt: it is put back before it, and the
 * interrupt is used up. */
int preempted_at_entry(struct recorder *r, struct task *t, struct reason_info *ret);
/* Logs where the task is, settled first. At a signal-delivery-stop of `signo` it is at one again afterwards.
 * stopped: as of settle. 0; 1: another stop comes first, which waits in its status; or -errno. */
int log_landmark(struct recorder *r, struct task *t, int signo, bool stopped);

/* settle.c: moves a task on to where a replay can stop cheaply. regs: its registers, before and after.
 * stopped: it is in a group stop, and moved no farther than it must be; t->left_stop tells whether it was.
 * Returns as log_landmark. */
int settle(struct recorder *r, struct task *t, int signo, bool stopped, struct regs *regs);

/* clock_spin.c: the task reads the time-stamp counter. *ret_waits: it does nothing else, and it is
 * another's turn. */
int clock_spin(struct recorder *r, struct task *t, const struct regs *regs, bool *ret_waits);

/* record_tsc.c: the time-stamp counter as a program is told it. */
uint64_t recorder_tsc(struct recorder *r);

/* record_calls.c */
int call_entered(struct recorder *r, struct task *t, struct reason_info *ret);
int call_ended(struct recorder *r, struct task *t, struct reason_info *ret);
int call_finish(struct recorder *r, struct task *t, struct reason_info *ret);
int call_log_entry(struct recorder *r, struct task *t);
int call_skip(struct task *t, int64_t result);
int take_raised(struct task *t, int signo, const siginfo_t *info);

#endif
