/* Tasks that wait in a loop for memory to change. Nothing comes of letting them run: who spins is
 * switched away from at once.
 *
 * A task whose slice is over is looked at: does it come by the same place again, soon, with the
 * same registers and the same memory? Then the place is a spin site of its address space, and
 * debug registers stop the tasks there from now on: the second time with the same registers,
 * another task's turn has come. Where debug registers can't be used, and for loops that count
 * while they wait (told by their PAUSE), a short slice has to do.
 *
 * All of this only decides when tasks are switched. A landmark tells where, as always. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "landmark.h"
#include "record.h"

#define LOOK_SLOT SPIN_ARMED
/* Slices are halved so often at most where they end in loops that wait. */
#define HALVINGS 6
/* How often a place is waited for in a look, and for how long, of the task's time: no short loop takes
 * longer. On a busy machine that may be some ticks, but no more than so many. */
#define LOOKS 4
#define LOOK_NS 50000u
#define LOOK_TICKS 200
/* Hits in a row without a task that waits: the site lies on a busy path, and is left alone until it was
 * found as often as its penalty says. */
#define MISSES_MAX 8
#define PENALTY_MAX 1023
/* Every so often memory is compared, too: registers alone may be the same at useful work. */
#define CHECK_EVERY 16
/* Bytes about the instruction pointer where a PAUSE is looked for. */
#define PAUSE_REACH 24

#define FLAG_RESUME 0x10000ull

/* ---- may debug registers be used? ---- */

/* A trap of a blocked or ignored SIGTRAP takes the program's disposition away
 * (force_sig_info_to_task in kernel/signal.c). */
static bool trap_blocked(const struct task *t)
{
    uint64_t mask;

    return ptrace(PTRACE_GETSIGMASK, t->tid, (void *)sizeof mask, &mask) < 0 ||
           mask >> (SIGTRAP - 1) & 1;
}

static bool trap_ignored(const struct task *t)
{
    char path[40], line[256];
    unsigned long long mask = ~0ull;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/status", t->tid);
    file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "SigIgn: %llx", &mask) == 1)
            break;
    if (file)
        fclose(file);
    return mask >> (SIGTRAP - 1) & 1;
}

static void renew(struct recorder *r, struct mm_info *mm)
{
    mm->spin_generation = ++r->spin_generation;
}

bool spin_trap_ignored(const struct task *t)
{
    if (t->mm->trap_asked != t->tgid)
        t->mm->trap_ignored = trap_ignored(t);
    t->mm->trap_asked = t->tgid;
    return t->mm->trap_ignored;
}

void spin_after_call(struct recorder *r, struct task *t)
{
    if (t->regs.r[R_ORIG_RAX] != SYS_rt_sigaction || t->regs.r[R_RDI] != SIGTRAP || !t->regs.r[R_RSI])
        return;
    t->mm->no_spins = true;
    t->mm->trap_asked = 0;
    renew(r, t->mm);
}

/* ---- sites ---- */

static struct spin_site *site_at(struct mm_info *mm, uint64_t address)
{
    for (unsigned i = 0; i < SPIN_SITES; i++)
        if (mm->spins[i].address == address)
            return &mm->spins[i];
    return NULL;
}

static void leave_alone(struct recorder *r, struct mm_info *mm, struct spin_site *site)
{
    site->armed = false;
    site->penalty = 2 * site->penalty + 1;
    if (site->penalty > PENALTY_MAX)
        site->penalty = PENALTY_MAX;
    site->owed = site->penalty;
    renew(r, mm);
}

/* A task's own sites come first in its debug registers: tasks of a pool wait in loops of their own,
 * together more than there are registers. */
static void waited_at(struct task *t, uint64_t address, uint64_t now)
{
    unsigned last = 0;

    for (unsigned i = 0; i < SPIN_ARMED; i++) {
        if (t->waited[i].address == address) {
            t->waited[i].when = now;
            return;
        }
        if (t->waited[i].when < t->waited[last].when)
            last = i;
    }
    t->waited[last].address = address;
    t->waited[last].when = now;
    t->spin_generation = 0; /* to be armed anew */
}

/* A task waits there. */
static void found(struct recorder *r, struct task *t, uint64_t address)
{
    struct mm_info *mm = t->mm;
    struct spin_site *site = site_at(mm, address);

    if (mm->no_spins)
        return;
    if (!site) {
        site = &mm->spins[0];
        for (unsigned i = 1; i < SPIN_SITES; i++)
            if (mm->spins[i].found < site->found)
                site = &mm->spins[i];
        *site = (struct spin_site){.address = address};
    }
    site->found = ++r->n_spins_found;
    waited_at(t, address, site->found);
    if (site->armed || (site->owed && site->owed--))
        return;
    if (trap_ignored(t)) {
        mm->no_spins = true;
        return;
    }
    site->armed = true;
    site->misses = site->times = 0;
    renew(r, mm);
}

static uint64_t when_waited(const struct task *t, const struct spin_site *site)
{
    for (unsigned i = 0; i < SPIN_ARMED; i++)
        if (t->waited[i].address == site->address)
            return t->waited[i].when;
    return 0;
}

static bool comes_first(const struct task *t, const struct spin_site *a, const struct spin_site *b)
{
    uint64_t when = when_waited(t, a), other = when_waited(t, b);

    return when != other ? when > other : a->found > b->found;
}

/* Gives the task's debug registers the sites of its address space, its own first, or none. */
static int arm(struct task *t, bool on)
{
    uint32_t done = 0;
    unsigned n = 0;
    int rc;

    while (on && n < SPIN_ARMED) {
        const struct spin_site *next = NULL;

        for (unsigned i = 0; i < SPIN_SITES; i++) {
            const struct spin_site *site = &t->mm->spins[i];

            if (site->armed && !(done >> i & 1) && (!next || comes_first(t, site, next)))
                next = site;
        }
        if (!next)
            break;
        done |= 1u << (next - t->mm->spins);
        if ((rc = hw_break(t->tid, n++, next->address)))
            return rc;
    }
    while (n < SPIN_ARMED)
        if ((rc = hw_break(t->tid, n++, 0)))
            return rc;
    return 0;
}

int spin_disarm(struct task *t)
{
    int rc = t->spin_generation ? arm(t, false) : 0;

    if (!rc)
        t->spin_generation = 0;
    return rc;
}

/* A task that stands on a site would hit it before it has executed anything. */
static int step_over(struct task *t)
{
    uint64_t rip, flags;
    const struct spin_site *site;
    int rc;

    if ((rc = reg_peek(t->tid, R_RIP, &rip)))
        return rc;
    if (!(site = site_at(t->mm, rip)) || !site->armed)
        return 0;
    if ((rc = reg_peek(t->tid, R_EFLAGS, &flags)) || flags & FLAG_RESUME)
        return rc;
    return reg_poke(t->tid, R_EFLAGS, flags | FLAG_RESUME);
}

int spin_before_run(struct recorder *r, struct task *t)
{
    bool on = r->n_tasks > 1 && t->mm->spin_generation && !t->mm->no_spins && !t->spin_quiet &&
              !r->no_debug_registers && !trap_blocked(t);
    uint64_t wanted = on ? t->mm->spin_generation : 0;
    int rc;

    if (wanted != t->spin_generation) {
        rc = arm(t, on);
        if (rc == -ESRCH)
            return rc;
        if (rc) {
            r->no_debug_registers = true;
            wanted = 0;
        }
        t->spin_generation = wanted;
    }
    return wanted ? step_over(t) : 0;
}

/* ---- hits ---- */

bool spin_is_hit(const struct task *t, int status)
{
    return WSTOPSIG(status) == SIGTRAP && !(status >> 16) && !t->stepping && hw_break_hits(t->tid);
}

int spin_digest(struct recorder *r, struct task *t, const struct regs *regs, uint64_t *ret)
{
    const size_t skip = 2 * (12 + 8); /* digest of the extended state, time */
    struct buf sample = {0};
    int rc;

    /* against the last look's the words that changed would be part of it */
    r->look.now.n = 0;
    r->look.ranges.valid = false;
    rc = landmark_take(t->tid, &t->mem, regs, &r->look, &sample);
    *ret = rc || sample.len < skip ? 0 : digest64(sample.data + skip, sample.len - skip, 0);
    buf_free(&sample);
    return rc;
}

int spin_hit(struct recorder *r, struct task *t, bool *ret_waits)
{
    struct spin_site *site;
    struct regs regs;
    uint64_t sum;
    bool check;
    int rc;

    *ret_waits = false;
    t->unplaced = true;
    if ((rc = regs_get(t->tid, &regs)))
        return rc;
    /* An interrupt's trap comes before that of the debug exception, which then may be of a look,
     * or of a site that is none any more. */
    if (t->fresh || !t->spin_generation || !(site = site_at(t->mm, regs.r[R_RIP])) || !site->armed)
        return 0;
    if (!recorder_others_ready(r, t)) {
        t->spin_quiet = true; /* until its next turn: ticks will do */
        t->spinning = true;
        return 0;
    }
    check = !(site->times & (site->times - 1)) || site->times % CHECK_EVERY == 0;
    if (!t->at_site || memcmp(&t->site_regs, &regs, sizeof regs)) {
        t->at_site = true;
        t->site_regs = regs;
        if (++site->misses > MISSES_MAX)
            leave_alone(r, t->mm, site);
        return check ? spin_digest(r, t, &regs, &t->site_sum) : 0;
    }
    t->at_site = false;
    if (check) {
        if ((rc = spin_digest(r, t, &regs, &sum)))
            return rc;
        if (sum != t->site_sum) {
            leave_alone(r, t->mm, site);
            return 0;
        }
    }
    site->misses = 0;
    site->times++;
    waited_at(t, site->address, ++r->n_spins_found);
    *ret_waits = t->spun = true;
    t->unplaced = false;
    return 0;
}

/* ---- looking at a task whose slice is over ---- */

static bool pauses(const struct task *t, uint64_t rip)
{
    uint8_t code[2 * PAUSE_REACH];
    size_t got = mem_read_some(&t->mem, rip - PAUSE_REACH, code, sizeof code);

    for (size_t i = 0; i + 1 < got; i++)
        if (code[i] == 0xf3 && code[i + 1] == 0x90)
            return true;
    return false;
}

/* The processor time of a task's process, of which it alone runs now: unlike the task's own in /proc up to
 * date while it runs. 0: it can't be told. */
static uint64_t own_time(const struct task *t)
{
    struct timespec ts;
    clockid_t clock;

    if (clock_getcpuclockid(t->tgid, &clock) || clock_gettime(clock, &ts))
        return 0;
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Runs the task until it comes by `address`, but no longer than a look. 1: it did; 0: it did not;
 * 2: it came to another stop, which waits in its status; or -errno. */
static int come_by(struct recorder *r, struct task *t, uint64_t address)
{
    uint64_t flags, began = own_time(t);
    unsigned ticks = 0;
    bool late = false;
    int rc, status;

    if ((rc = reg_peek(t->tid, R_EFLAGS, &flags)) ||
        (rc = reg_poke(t->tid, R_EFLAGS, flags | FLAG_RESUME)) ||
        (rc = hw_break(t->tid, LOOK_SLOT, address)))
        return rc;
    recorder_tick_every(r, LOOK_NS);
    if ((rc = task_resume(t->tid, PTRACE_SYSCALL, 0)))
        return rc;
    while ((rc = waitpid(t->tid, &status, __WALL)) < 0) {
        if (errno != EINTR)
            return -errno;
        if (!recorder_ticked())
            r->interrupt = 1; /* Python looks at its signals, later */
        if (late || (++ticks < LOOK_TICKS && own_time(t) - began < LOOK_NS))
            continue;
        if (ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL) < 0)
            return -errno;
        late = true;
    }
    if (WIFSTOPPED(status) && status >> 16 != PTRACE_EVENT_EXIT && (rc = hw_break(t->tid, LOOK_SLOT, 0)))
        return rc; /* DR6 keeps what it tells */
    if (WIFSTOPPED(status) && !(status >> 16) && WSTOPSIG(status) == SIGTRAP &&
        hw_break_hits(t->tid) & 1u << LOOK_SLOT)
        return 1; /* this stop has cancelled an interrupt, if there was one */
    if (late && WIFSTOPPED(status) && status >> 16 == PTRACE_EVENT_STOP && WSTOPSIG(status) == SIGTRAP)
        return 0;
    t->status = status;
    t->has_status = true;
    t->state = RUN_RUNNING;
    t->preempting = late; /* at a call's entry the interrupt is still to be dealt with */
    return 2;
}

int spin_look(struct recorder *r, struct task *t, const struct regs *regs)
{
    struct regs first = *regs, now;
    uint64_t sum, again;
    int rc;

    t->spinning = false;
    if (repeated_instruction(&t->mem, regs->r[R_RIP]))
        return 0;
    if (r->no_debug_registers || t->mm->no_spins || trap_blocked(t)) {
        t->spinning = t->spun = pauses(t, regs->r[R_RIP]);
        return 0;
    }
    /* a site's debug register would stop it before the look's */
    if ((rc = spin_disarm(t)) || (rc = spin_digest(r, t, &first, &sum)))
        return rc;
    for (unsigned n = 0; n < LOOKS; n++) {
        if ((rc = come_by(r, t, first.r[R_RIP])) < 0 || rc == 2)
            return rc < 0 ? rc : 1;
        if (!rc)
            break;
        if ((rc = regs_get(t->tid, &now)))
            return rc;
        now.r[R_EFLAGS] = (now.r[R_EFLAGS] & ~FLAG_RESUME) | (first.r[R_EFLAGS] & FLAG_RESUME);
        if (!memcmp(&first, &now, sizeof now)) {
            if ((rc = spin_digest(r, t, &now, &again)))
                return rc;
            if (again == sum) {
                t->mm->spins_late += t->mm->spins_late < HALVINGS;
                found(r, t, first.r[R_RIP]);
                t->spinning = !t->mm->spin_generation;
                t->spun = true;
                return 0;
            }
            break;
        }
        if (n != 1)
            continue;
        first = now;
        if ((rc = spin_digest(r, t, &first, &sum)))
            return rc;
    }
    t->spinning = t->spun = pauses(t, first.r[R_RIP]);
    if (!t->spinning && t->mm->spins_late)
        t->mm->spins_late--;
    return 0;
}
