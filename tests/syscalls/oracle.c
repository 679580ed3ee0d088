/* An independent witness of what system calls write.
 *
 *   oracle REPORT PROGRAM [ARGS...]
 *
 * Runs a program under ptrace and, around every system call, compares all its
 * private writable memory byte by byte. What changed must be claimed by the
 * table, through the same code that the recorder uses (params_out). What is not
 * claimed goes to the report, with the program stopped where it can be examined,
 * and the oracle waits for a line on its standard input:
 *
 *   U pid nr a0 a1 a2 a3 a4 a5 result n addr len ...    unclaimed changes
 *   S pid nr a0 a1 a2 a3 a4 a5 result n addr len ...    the same, for a call with RECORD_EXIT
 *                                                       (n may be 0: nothing changed)
 *   T nr desc calls failed wrote                        totals at the end
 *   E status                                            the program's wait status
 *
 * Refused calls are refused, as the recorder does it. Memory that others may
 * write meanwhile is not compared: shared mappings, and everything while threads
 * (or a vfork child) share the address space.
 */
#define _GNU_SOURCE
#include "mem.h"
#include "params.h"
#include "table.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_TASKS 256
#define MAX_REGIONS 512
#define MAX_RUNS 64
/* More than this is read only in part; programs under test stay below it. */
#define MAX_REGION ((size_t)64 << 20)

struct region {
    uint64_t addr;
    size_t len;
    uint8_t *bytes;
};

struct task {
    int tid;
    bool in_call, shares_memory, skip;
    uint64_t nr, args[CALL_MAX_ARGS];
    const struct call_desc *desc;
    struct params_entry entry;
    struct region region[MAX_REGIONS];
    int n_regions;
};

static struct task *tasks[MAX_TASKS];
static FILE *report;
static struct {
    unsigned long calls, failed, wrote;
} totals[4096];

static void die(const char *what)
{
    perror(what);
    exit(99);
}

static struct task *task_of(int tid)
{
    int empty = -1;

    for (int i = 0; i < MAX_TASKS; i++) {
        if (tasks[i] && tasks[i]->tid == tid)
            return tasks[i];
        if (!tasks[i] && empty < 0)
            empty = i;
    }
    if (empty < 0)
        die("too many tasks");
    tasks[empty] = calloc(1, sizeof *tasks[empty]);
    if (!tasks[empty])
        die("calloc");
    tasks[empty]->tid = tid;
    return tasks[empty];
}

static void forget_regions(struct task *t)
{
    for (int i = 0; i < t->n_regions; i++)
        free(t->region[i].bytes);
    t->n_regions = 0;
}

static void forget(struct task *t)
{
    for (int i = 0; i < MAX_TASKS; i++)
        if (tasks[i] == t)
            tasks[i] = NULL;
    forget_regions(t);
    params_entry_free(&t->entry);
    free(t);
}

/* All private writable memory, as it is now. */
static void snapshot(struct task *t, const struct mem *m)
{
    char path[64], line[512];

    snprintf(path, sizeof path, "/proc/%d/maps", t->tid);
    FILE *maps = fopen(path, "re");
    if (!maps)
        return;
    forget_regions(t);
    while (fgets(line, sizeof line, maps) && t->n_regions < MAX_REGIONS) {
        uint64_t from, to;
        char perms[5];

        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s", &from, &to, perms) != 3)
            continue;
        if (perms[0] != 'r' || perms[1] != 'w' || perms[3] != 'p')
            continue;
        size_t len = to - from < MAX_REGION ? to - from : MAX_REGION;
        struct region *r = &t->region[t->n_regions++];
        r->addr = from;
        r->bytes = malloc(len);
        if (!r->bytes)
            die("malloc");
        r->len = mem_read_some(m, from, r->bytes, len);
    }
    fclose(maps);
}

/* Whether a byte is in the output blob or one of the extra runs. */
static bool claimed(const struct buf *blob, uint64_t addr)
{
    for (size_t at = 0; at + 12 <= blob->len;) {
        uint64_t from;
        uint32_t len;
        memcpy(&from, blob->data + at, 8);
        memcpy(&len, blob->data + at + 8, 4);
        if (addr - from < len)
            return true;
        at += 12 + len;
    }
    return false;
}

static void compare(struct task *t, const struct mem *m, int64_t result)
{
    struct buf blob = {0};
    uint64_t addr[MAX_RUNS], len[MAX_RUNS];
    int n = 0;
    unsigned long changed = 0;

    if (t->desc && params_out(t->desc, &t->entry, result, m, &blob) != 0)
        die("params_out");
    for (int i = 0; i < t->n_regions; i++) {
        struct region *r = &t->region[i];
        uint8_t *now = malloc(r->len + 1);
        if (!now)
            die("malloc");
        size_t got = mem_read_some(m, r->addr, now, r->len);
        if (got && memcmp(now, r->bytes, got) != 0) {
            for (size_t k = 0; k < got; k++) {
                if (now[k] == r->bytes[k])
                    continue;
                changed++;
                if (claimed(&blob, r->addr + k))
                    continue;
                if (n > 0 && addr[n - 1] + len[n - 1] == r->addr + k)
                    len[n - 1]++;
                else if (n < MAX_RUNS) {
                    addr[n] = r->addr + k;
                    len[n++] = 1;
                }
            }
        }
        free(now);
    }
    if (t->desc && t->desc - relive_calls.descs < 4096) {
        size_t d = (size_t)(t->desc - relive_calls.descs);
        totals[d].calls++;
        totals[d].failed += result < 0;
        totals[d].wrote += changed > 0;
    }
    bool special = t->desc && (t->desc->flags & CALLF_RECORD_EXIT);
    if (n > 0 || special) {
        fprintf(report, "%c %d %" PRIu64, special ? 'S' : 'U', t->tid, t->nr);
        for (int i = 0; i < CALL_MAX_ARGS; i++)
            fprintf(report, " %" PRIu64, t->args[i]);
        fprintf(report, " %" PRId64 " %d", result, n);
        for (int i = 0; i < n; i++)
            fprintf(report, " %" PRIu64 " %" PRIu64, addr[i], len[i]);
        fputc('\n', report);
        fflush(report);
        char answer[16];
        if (!fgets(answer, sizeof answer, stdin))
            exit(98);
    }
    buf_free(&blob);
}

/* Whether the process has other threads, known to us or not yet. */
static bool has_threads(int tid)
{
    char path[64], line[128];
    int n = 1;

    snprintf(path, sizeof path, "/proc/%d/status", tid);
    FILE *status = fopen(path, "re");
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "Threads: %d", &n) == 1)
            break;
    if (status)
        fclose(status);
    return n > 1;
}

static void at_entry(struct task *t, struct user_regs_struct *regs)
{
    struct mem m;
    struct buf in = {0};

    t->nr = regs->orig_rax;
    uint64_t args[CALL_MAX_ARGS] = {regs->rdi, regs->rsi, regs->rdx, regs->r10, regs->r8, regs->r9};
    memcpy(t->args, args, sizeof args);
    t->desc = call_lookup(t->nr, args);
    t->shares_memory |= has_threads(t->tid);
    t->skip = t->shares_memory || !t->desc || (t->desc->flags & (CALLF_REPLAY | CALLF_REFUSE));
    if (t->desc && (t->desc->flags & CALLF_REFUSE)) {
        regs->orig_rax = (unsigned long)-1;
        ptrace(PTRACE_SETREGS, t->tid, NULL, regs);
        return;
    }
    if (t->skip || mem_open(&m, t->tid) != 0) {
        t->skip = true;
        return;
    }
    if (params_in(t->desc, args, &m, &in) != 0 ||
        params_entry_take(t->desc, args, &m, &t->entry) != 0)
        die("params");
    buf_free(&in);
    snapshot(t, &m);
    mem_close(&m);
}

static void at_exit(struct task *t, struct user_regs_struct *regs)
{
    struct mem m;

    if (t->desc && (t->desc->flags & CALLF_REFUSE)) {
        regs->rax = (unsigned long)-(long)t->desc->refuse_errno;
        ptrace(PTRACE_SETREGS, t->tid, NULL, regs);
    }
    if (t->desc && (t->desc->flags & (CALLF_REPLAY | CALLF_REFUSE)) &&
        t->desc - relive_calls.descs < 4096) {
        size_t d = (size_t)(t->desc - relive_calls.descs);
        totals[d].calls++;
        totals[d].failed += (int64_t)regs->rax < 0;
    }
    t->shares_memory |= has_threads(t->tid);
    if (!t->skip && !t->shares_memory && mem_open(&m, t->tid) == 0) {
        compare(t, &m, (int64_t)regs->rax);
        mem_close(&m);
    }
    forget_regions(t);
}

static bool shares(const struct task *parent, int event)
{
    if (event == PTRACE_EVENT_VFORK)
        return true;
    if (event != PTRACE_EVENT_CLONE)
        return false;
    if (parent->nr == SYS_clone)
        return parent->args[0] & CLONE_VM;
    return true; /* clone3: assume a thread */
}

int main(int argc, char **argv)
{
    if (argc < 3 || !(report = fopen(argv[1], "we")))
        die("usage: oracle REPORT PROGRAM [ARGS...]");
    int first = fork();
    if (first == 0) {
        int null = dup(0);
        close(0);
        if (null < 0 || dup2(1, 0) < 0) /* the program must not read our answers */
            _exit(97);
        close(null);
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        execvp(argv[2], argv + 2);
        _exit(127);
    }
    int status, first_status = 0;
    if (waitpid(first, &status, __WALL) != first)
        die("waitpid");
    if (ptrace(PTRACE_SETOPTIONS, first, NULL,
               PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
                   PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL))
        die("PTRACE_SETOPTIONS");
    task_of(first);
    ptrace(PTRACE_SYSCALL, first, NULL, NULL);

    for (;;) {
        struct user_regs_struct regs;
        int tid = waitpid(-1, &status, __WALL);
        if (tid < 0 && errno == EINTR)
            continue;
        if (tid < 0)
            break;
        struct task *t = task_of(tid);
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (tid == first)
                first_status = status;
            forget(t);
            continue;
        }
        int sig = WSTOPSIG(status), event = status >> 16, deliver = 0;
        if (sig == (SIGTRAP | 0x80)) {
            if (ptrace(PTRACE_GETREGS, tid, NULL, &regs) == 0) {
                t->in_call = !t->in_call;
                if (t->in_call)
                    at_entry(t, &regs);
                else
                    at_exit(t, &regs);
            }
        } else if (event == PTRACE_EVENT_EXEC) {
            t->shares_memory = false;
            t->skip = true;
        } else if (event == PTRACE_EVENT_CLONE || event == PTRACE_EVENT_FORK ||
                   event == PTRACE_EVENT_VFORK) {
            unsigned long child;
            if (ptrace(PTRACE_GETEVENTMSG, tid, NULL, &child) == 0 && shares(t, event)) {
                task_of((int)child)->shares_memory = true;
                if (event == PTRACE_EVENT_CLONE)
                    t->shares_memory = true;
                t->skip = true;
            }
        } else if (sig == SIGSTOP && !t->in_call && t->nr == 0) {
            t->nr = (uint64_t)-1; /* a new child's first stop */
        } else if (event == 0) {
            deliver = sig;
        }
        ptrace(PTRACE_SYSCALL, tid, NULL, deliver);
    }
    for (size_t d = 0; d < relive_calls.n_descs && d < 4096; d++)
        if (totals[d].calls)
            fprintf(report, "T %u %zu %lu %lu %lu\n", relive_calls.descs[d].nr, d, totals[d].calls,
                    totals[d].failed, totals[d].wrote);
    fprintf(report, "E %d\n", first_status);
    fclose(report);
    return 0;
}
