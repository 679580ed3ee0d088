#include "tracee.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

int regs_get(int tid, struct regs *ret)
{
    return ptrace(PTRACE_GETREGS, tid, NULL, ret) < 0 ? -errno : 0;
}

int regs_set(int tid, const struct regs *r)
{
    return ptrace(PTRACE_SETREGS, tid, NULL, r) < 0 ? -errno : 0;
}

int reg_peek(int tid, enum reg which, uint64_t *ret)
{
    errno = 0;
    *ret = (uint64_t)ptrace(PTRACE_PEEKUSER, tid, (void *)(8ul * which), NULL);
    return errno ? -errno : 0;
}

int reg_poke(int tid, enum reg which, uint64_t value)
{
    return ptrace(PTRACE_POKEUSER, tid, (void *)(8ul * which), (void *)value) < 0 ? -errno : 0;
}

void call_args(const struct regs *r, uint64_t ret[6])
{
    ret[0] = r->r[R_RDI];
    ret[1] = r->r[R_RSI];
    ret[2] = r->r[R_RDX];
    ret[3] = r->r[R_R10];
    ret[4] = r->r[R_R8];
    ret[5] = r->r[R_R9];
}

#define AUDIT_ARCH_X86_64_VALUE 0xc000003eu

int call_by_other_way(int tid, const struct regs *entry)
{
    struct __ptrace_syscall_info info;

    if (entry->r[R_RCX] == entry->r[R_RIP] && entry->r[R_R11] == entry->r[R_EFLAGS])
        return 0;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, (void *)sizeof info, &info) < 0)
        return 0;
    return info.arch != AUDIT_ARCH_X86_64_VALUE;
}

int task_resume(int tid, int request, int sig)
{
    return ptrace((enum __ptrace_request)request, tid, NULL, (void *)(intptr_t)sig) < 0 ? -errno : 0;
}

int wait_for(int tid, int flags, int *ret_status)
{
    for (;;) {
        pid_t got = waitpid(tid, ret_status, __WALL | flags);

        if (got >= 0)
            return got;
        if (errno != EINTR)
            return -errno;
    }
}

/* Layout of the uncompacted XSAVE image: legacy area of 512 bytes, header of 64. */
#define XSAVE_FCW 0
#define XSAVE_MXCSR 24
#define XSAVE_HEADER 512
#define XSAVE_MIN 576
#define XSAVE_MAX 16384
#define FP_XSTATE_MAGIC1_OFFSET 464
#define FP_XSTATE_MAGIC1_VALUE 0x46505853u

int xstate_reset(int tid)
{
    uint8_t area[XSAVE_MAX];
    struct iovec iov = {area, sizeof area};
    const uint16_t fcw = 0x37f;
    const uint32_t mxcsr = 0x1f80;
    const uint64_t features = 3; /* x87 and SSE from the area; the others become initial */

    if (ptrace(PTRACE_GETREGSET, tid, (void *)NT_X86_XSTATE, &iov) < 0)
        return -errno;
    if (iov.iov_len < XSAVE_MIN)
        return -EIO;
    /* Bytes 464..511 hold the feature mask for software: kept. */
    memset(area, 0, FP_XSTATE_MAGIC1_OFFSET);
    memset(area + XSAVE_HEADER, 0, iov.iov_len - XSAVE_HEADER);
    memcpy(area + XSAVE_FCW, &fcw, sizeof fcw);
    memcpy(area + XSAVE_MXCSR, &mxcsr, sizeof mxcsr);
    memcpy(area + XSAVE_HEADER, &features, sizeof features);
    return ptrace(PTRACE_SETREGSET, tid, (void *)NT_X86_XSTATE, &iov) < 0 ? -errno : 0;
}

/* struct rt_sigframe without its pretcode, which the handler's `ret` popped:
 * struct ucontext { flags 8, link 8, stack 24, sigcontext ... }; the pointer to
 * the extended state is sigcontext + 184 (arch/x86/include/uapi/asm/sigcontext.h). */
#define FRAME_FPSTATE (40 + 184)

int xstate_from_frame(int tid, const struct mem *m, uint64_t rsp)
{
    uint8_t area[XSAVE_MAX], now[XSAVE_MAX];
    struct iovec iov = {now, sizeof now};
    uint64_t at;
    uint32_t magic, extended;
    size_t len = 512;
    int rc;

    if ((rc = mem_read(m, rsp + FRAME_FPSTATE, &at, sizeof at)))
        return rc;
    if (!at)
        return xstate_reset(tid);
    if ((rc = mem_read(m, at, area, 512)))
        return rc;
    if (ptrace(PTRACE_GETREGSET, tid, (void *)NT_X86_XSTATE, &iov) < 0)
        return -errno;
    memcpy(&magic, area + FP_XSTATE_MAGIC1_OFFSET, sizeof magic);
    memcpy(&extended, area + FP_XSTATE_MAGIC1_OFFSET + 16, sizeof extended);
    if (magic == FP_XSTATE_MAGIC1_VALUE && extended >= XSAVE_MIN && extended <= iov.iov_len) {
        len = extended;
        if ((rc = mem_read(m, at + 512, area + 512, len - 512)))
            return rc;
    }
    if (len == 512) {
        const uint64_t features = 3;

        memset(now + XSAVE_HEADER, 0, iov.iov_len - XSAVE_HEADER);
        memcpy(now + XSAVE_HEADER, &features, sizeof features);
        memcpy(now, area, FP_XSTATE_MAGIC1_OFFSET);
    } else {
        /* the software-reserved bytes are the kernel's, not the frame's */
        memcpy(now, area, FP_XSTATE_MAGIC1_OFFSET);
        memcpy(now + XSAVE_HEADER, area + XSAVE_HEADER, len - XSAVE_HEADER);
    }
    return ptrace(PTRACE_SETREGSET, tid, (void *)NT_X86_XSTATE, &iov) < 0 ? -errno : 0;
}

static int stash_room(struct stash *s)
{
    unsigned cap = s->cap ? 2 * s->cap : 4;
    struct stashed_signal *items;

    if (s->count < s->cap)
        return 0;
    items = realloc(s->items, cap * sizeof *items);
    if (!items)
        return -ENOMEM;
    s->items = items;
    s->cap = cap;
    return 0;
}

int stash_put_back(struct stash *s, const struct stashed_signal *item)
{
    int rc = stash_room(s);

    if (rc)
        return rc;
    memmove(s->items + 1, s->items, s->count * sizeof *s->items);
    s->items[0] = *item;
    s->count++;
    return 0;
}

int stash_add(struct stash *s, int tid, int signo)
{
    siginfo_t info;
    int rc = stash_room(s);

    if (rc)
        return rc;
    if (ptrace(PTRACE_GETSIGINFO, tid, NULL, &info) < 0)
        return -errno;
    s->items[s->count].signo = signo;
    memcpy(s->items[s->count].info, &info, sizeof s->items[s->count].info);
    s->count++;
    return 0;
}

void stash_pop(struct stash *s, struct stashed_signal *ret)
{
    *ret = s->items[0];
    s->count--;
    memmove(s->items, s->items + 1, s->count * sizeof *s->items);
}

void stash_free(struct stash *s)
{
    free(s->items);
    memset(s, 0, sizeof *s);
}

/* A system call's instruction and the byte after it. */
#define CALL_BYTES 3u

enum fault {
    FAULT_NONE,
    FAULT_HERE,    /* of the call's own code: it is not there */
    FAULT_EARLIER, /* of the instruction before which an interrupt came: executed again, it comes again */
};

static enum fault fault_of(int tid, int sig, uint64_t insn)
{
    siginfo_t info;

    if (sig != SIGSEGV && sig != SIGBUS && sig != SIGILL && sig != SIGFPE && sig != SIGTRAP)
        return FAULT_NONE;
    if (ptrace(PTRACE_GETSIGINFO, tid, NULL, &info) < 0 || info.si_code <= 0)
        return FAULT_NONE;
    if ((uint64_t)(uintptr_t)info.si_addr - insn < CALL_BYTES)
        return FAULT_HERE;
    return sig == SIGTRAP ? FAULT_NONE : FAULT_EARLIER; /* a trap comes after its instruction */
}

/* Resumes until the next system-call stop. */
static int to_call_stop(int tid, uint64_t insn, struct stash *stash, bool *group_stop)
{
    unsigned earlier = 0;

    for (;;) {
        int status, rc = task_resume(tid, PTRACE_SYSCALL, 0);

        if (rc)
            return rc;
        if ((rc = wait_for(tid, 0, &status)) < 0)
            return rc;
        if (!WIFSTOPPED(status))
            return -ESRCH;
        if (WSTOPSIG(status) == (SIGTRAP | 0x80))
            return 0;
        if (status >> 16) { /* a group stop or an exit trap: nothing to keep */
            if (status >> 16 == PTRACE_EVENT_EXIT) {
                task_resume(tid, PTRACE_CONT, 0); /* killed: let it go */
                return -ESRCH;
            }
            if (status >> 16 == PTRACE_EVENT_STOP && WSTOPSIG(status) != SIGTRAP)
                *group_stop = true;
            continue;
        }
        switch (fault_of(tid, WSTOPSIG(status), insn)) {
        case FAULT_HERE:
            return -EIO; /* nothing would ever come of it */
        case FAULT_EARLIER:
            if (earlier++)
                return -EIO;
            continue;
        case FAULT_NONE:
            break;
        }
        if (stash && (rc = stash_add(stash, tid, WSTOPSIG(status))))
            return rc;
    }
}

int remote_call(int tid, uint64_t nr, const uint64_t args[6], int at_entry, struct stash *stash,
                int64_t *ret)
{
    return remote_call_at(tid, AGENT_SYSCALL, nr, args, at_entry, stash, ret);
}

int remote_call_at(int tid, uint64_t insn, uint64_t nr, const uint64_t args[6], int at_entry,
                   struct stash *stash, int64_t *ret)
{
    bool group_stop = false;
    struct regs saved, r;
    uint64_t now;
    int rc;

    if ((rc = regs_get(tid, &saved)))
        return rc;
    if (at_entry) {
        saved.r[R_RAX] = saved.r[R_ORIG_RAX];
        saved.r[R_RIP] -= 2;
        saved.r[R_ORIG_RAX] = ~0ull;
    }
    r = saved;
    r.r[R_RIP] = insn;
    r.r[R_RAX] = nr;
    r.r[R_ORIG_RAX] = ~0ull; /* no call to restart, or (at entry) to make */
    r.r[R_RDI] = args[0];
    r.r[R_RSI] = args[1];
    r.r[R_RDX] = args[2];
    r.r[R_R10] = args[3];
    r.r[R_R8] = args[4];
    r.r[R_R9] = args[5];
    if ((rc = regs_set(tid, &r)))
        return rc;
    /* The first stop may be the exit of a cancelled or emulated call. */
    do {
        if ((rc = to_call_stop(tid, insn, stash, &group_stop)))
            return rc;
        if ((rc = reg_peek(tid, R_RIP, &now)))
            return rc;
    } while (now != insn + 2);
    if ((rc = to_call_stop(tid, insn, stash, &group_stop)))
        return rc;
    if ((rc = reg_peek(tid, R_RAX, &now)))
        return rc;
    *ret = (int64_t)now;
    /* It ran on through a group stop: an interrupt traps it into that again. */
    if (group_stop && ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0)
        return -errno;
    return regs_set(tid, &saved);
}

int own_tsc(int enabled)
{
    return prctl(PR_SET_TSC, enabled ? PR_TSC_ENABLE : PR_TSC_SIGSEGV) < 0 ? -errno : 0;
}

int trapped_instruction(const struct mem *m, uint64_t rip, unsigned *ret_len)
{
    uint8_t code[3] = {0};
    size_t got = mem_read_some(m, rip, code, sizeof code);

    if (got >= 2 && code[0] == 0x0f && code[1] == 0x31) {
        *ret_len = 2;
        return TRAP_RDTSC;
    }
    if (got >= 3 && code[0] == 0x0f && code[1] == 0x01 && code[2] == 0xf9) {
        *ret_len = 3;
        return TRAP_RDTSCP;
    }
    return -1;
}

/* Prefixes and opcodes: Intel SDM vol. 2, 2.1.1 and REP/REPE/REPNE. */
static bool is_prefix(uint8_t b)
{
    return b == 0x66 || b == 0x67 || b == 0xf2 || b == 0xf3 || b == 0x2e || b == 0x36 ||
           b == 0x3e || b == 0x26 || b == 0x64 || b == 0x65 || (b & 0xf0) == 0x40;
}

unsigned repeated_instruction(const struct mem *m, uint64_t rip)
{
    uint8_t code[15];
    size_t got = mem_read_some(m, rip, code, sizeof code), i;
    bool repeated = false;

    for (i = 0; i < got && is_prefix(code[i]); i++)
        repeated |= code[i] == 0xf2 || code[i] == 0xf3;
    if (!repeated || i >= got)
        return 0;
    if ((code[i] >= 0xa4 && code[i] <= 0xa7) || (code[i] >= 0xaa && code[i] <= 0xaf) ||
        (code[i] >= 0x6c && code[i] <= 0x6f))
        return (unsigned)i + 1;
    return 0;
}

#define EFLAGS_RF 0x10000ull

int hw_break(int tid, unsigned n, uint64_t address)
{
    const size_t at = offsetof(struct user, u_debugreg);
    uint64_t control;

    errno = 0;
    control = (uint64_t)ptrace(PTRACE_PEEKUSER, tid, (void *)(at + 7 * 8), NULL);
    if (errno)
        return -errno;
    /* local enable bit 2n; condition and length bits 16 + 4n: 0, execution, one byte */
    control &= ~((3ull << (2 * n)) | (0xfull << (16 + 4 * n)));
    /* disabled while the address moves */
    if (ptrace(PTRACE_POKEUSER, tid, (void *)(at + 7 * 8), (void *)control) < 0)
        return -errno;
    if (ptrace(PTRACE_POKEUSER, tid, (void *)(at + n * 8), (void *)address) < 0)
        return -errno;
    if (!address)
        return 0;
    control |= 1ull << (2 * n);
    return ptrace(PTRACE_POKEUSER, tid, (void *)(at + 7 * 8), (void *)control) < 0 ? -errno : 0;
}

int hit_at_once(int tid, uint64_t address)
{
    uint64_t rip, flags;
    int rc;

    if ((rc = reg_peek(tid, R_RIP, &rip)) || rip != address)
        return rc;
    if ((rc = reg_peek(tid, R_EFLAGS, &flags)))
        return rc;
    return flags & EFLAGS_RF ? reg_poke(tid, R_EFLAGS, flags & ~EFLAGS_RF) : 0;
}

unsigned hw_break_hits(int tid)
{
    siginfo_t info;
    long status;

    /* A sticky single-step bit makes TRAP_TRACE of TRAP_HWBKPT. Other traps leave the bits
     * of the last debug exception (exc_debug_user in arch/x86/kernel/traps.c). */
    if (ptrace(PTRACE_GETSIGINFO, tid, NULL, &info) < 0 || info.si_signo != SIGTRAP ||
        (info.si_code != 2 /* TRAP_TRACE */ && info.si_code != 4 /* TRAP_HWBKPT */))
        return 0;
    errno = 0;
    status = ptrace(PTRACE_PEEKUSER, tid, (void *)(offsetof(struct user, u_debugreg) + 6 * 8), NULL);
    return errno ? 0 : (unsigned)status & 0xf;
}

/* What /proc/TID/NAME holds, as a string; false when it can't be read (the task is gone). */
static bool read_task_file(int tid, const char *name, char *text, size_t size)
{
    char path[48];
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "/proc/%d/%s", tid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, text, size - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = 0;
    return true;
}

char task_state_letter(int tid)
{
    char text[256], *p;

    if (!read_task_file(tid, "stat", text, sizeof text))
        return 0;
    p = strrchr(text, ')'); /* the name may hold anything */
    return p && p[1] == ' ' ? p[2] : 0;
}

uint64_t task_cpu_ns(int tid)
{
    char text[64];

    return read_task_file(tid, "schedstat", text, sizeof text) ? strtoull(text, NULL, 10) : 0;
}
