/* ptrace primitives on one stopped task. Every function returns 0 or -errno
 * (-ESRCH: the task was killed meanwhile). */
#ifndef RELIVE_TRACEE_H
#define RELIVE_TRACEE_H

#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "evlog.h"

#define AGENT_TEXT 0x70000000ull
#define AGENT_SYSCALL AGENT_TEXT
#define AGENT_VSYSCALLS (AGENT_TEXT + 32) /* the three of them, 16 bytes each */
#define AGENT_DATA 0x70001000ull
#define AGENT_SIZE 0x2000ull

/* The register file as one array; indices in struct user_regs_struct's order. */
enum reg {
    R_R15, R_R14, R_R13, R_R12, R_RBP, R_RBX, R_R11, R_R10, R_R9, R_R8, R_RAX, R_RCX, R_RDX,
    R_RSI, R_RDI, R_ORIG_RAX, R_RIP, R_CS, R_EFLAGS, R_RSP, R_SS, R_FS_BASE, R_GS_BASE, R_DS,
    R_ES, R_FS, R_GS,
};

struct regs {
    uint64_t r[EV_NREGS];
};
_Static_assert(sizeof(struct regs) == sizeof(struct user_regs_struct), "user_regs_struct");

/* Results with which the kernel asks for a restart of the call (include/linux/errno.h). */
#define K_ERESTARTSYS 512
#define K_ERESTARTNOINTR 513
#define K_ERESTARTNOHAND 514
#define K_ERESTART_RESTARTBLOCK 516

#define TRACE_OPTIONS                                                                              \
    (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |      \
     PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL)
#define RECORD_OPTIONS (TRACE_OPTIONS | PTRACE_O_TRACEEXIT)

int regs_get(int tid, struct regs *ret);
int regs_set(int tid, const struct regs *r);
int reg_peek(int tid, enum reg which, uint64_t *ret);
int reg_poke(int tid, enum reg which, uint64_t value);
void call_args(const struct regs *r, uint64_t ret[6]);

/* int $0x80 and the like use another ABI. The syscall instruction leaves rip in
 * rcx and the flags in r11 (AMD64 manual vol. 3, SYSCALL), other ways do not. */
int call_by_other_way(int tid, const struct regs *entry);

/* Resumes; request is PTRACE_SYSCALL, PTRACE_SYSEMU, PTRACE_SINGLESTEP, PTRACE_CONT or PTRACE_LISTEN. */
int task_resume(int tid, int request, int sig);
/* waitpid that retries EINTR; returns the pid, 0 (WNOHANG) or -errno. */
int wait_for(int tid, int flags, int *ret_status);

/* Extended state. init: as after fpu initialisation (psABI, Intel SDM vol. 1
 * 13.6); frame: from the signal frame that rt_sigreturn leaves at rsp. */
int xstate_reset(int tid);
int xstate_from_frame(int tid, const struct mem *m, uint64_t rsp);

/* A signal met while a remote call was under way. */
struct stashed_signal {
    int signo;
    uint8_t info[128];
};
struct stash {
    struct stashed_signal *items;
    unsigned count, cap;
};
int stash_add(struct stash *s, int tid, int signo);
int stash_put_back(struct stash *s, const struct stashed_signal *item); /* as the oldest */
void stash_pop(struct stash *s, struct stashed_signal *ret);
void stash_free(struct stash *s);

/* Makes the task execute a system call at the agent's instruction. The task may be at any ptrace stop; its registers
 * come back as they were, and it is then at a system-call-exit stop. at_entry:
 * the stop is a system-call entry; the pending call is cancelled and the task
 * rewound so that it makes it again when resumed. Signals met on the way go to
 * the stash (NULL: they are suppressed). -ESRCH when the task dies. */
int remote_call(int tid, uint64_t nr, const uint64_t args[6], int at_entry, struct stash *stash,
                int64_t *ret);
/* The same with the system-call instruction at `insn`. */
int remote_call_at(int tid, uint64_t insn, uint64_t nr, const uint64_t args[6], int at_entry,
                   struct stash *stash, int64_t *ret);

/* Turns the time-stamp counter off or on for the calling thread: ptrace stops
 * are cheap only when supervisor and tracee agree (the kernel toggles CR4.TSD). */
int own_tsc(int enabled);

/* Instruction at rip that reads a machine counter: TRAP_*, or -1. */
int trapped_instruction(const struct mem *m, uint64_t rip, unsigned *ret_len);

/* Length of the string instruction with a repeat prefix at rip, 0 when it is none: execution stops in
 * the middle of one, where no breakpoint finds it again. */
unsigned repeated_instruction(const struct mem *m, uint64_t rip);
/* Hardware execution breakpoint n (0..3) of a stopped task, through its debug registers;
 * address 0 clears it. */
int hw_break(int tid, unsigned n, uint64_t address);
/* A task that is at the address will hit a breakpoint there before it executes anything: the resume flag, which
 * passes over one, is cleared. 0 or -errno. */
int hit_at_once(int tid, uint64_t address);
/* Which of them (bit n) have made the SIGTRAP that the task has stopped for. */
unsigned hw_break_hits(int tid);

/* State letter of /proc/TID/stat, 0 when gone. */
char task_state_letter(int tid);
/* Time on a processor (ns), from /proc/TID/schedstat: the CPU clock of another process's thread
 * can't be read (clock_getcpuclockid(3)). 0 when it is not known. */
uint64_t task_cpu_ns(int tid);

#endif
