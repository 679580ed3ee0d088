/* Sites and the bytes and debug registers that make them. */
#define _GNU_SOURCE
#include "live.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#define INT3 0xcc

static size_t bucket(const struct space *s, uint64_t addr)
{
    return (size_t)((addr * 0x9e3779b97f4a7c15ull) >> 32) & (s->cap - 1);
}

struct patch *patch_find(const struct space *s, uint64_t addr)
{
    if (!s->cap)
        return NULL;
    for (size_t i = bucket(s, addr); s->table[i]; i = (i + 1) & (s->cap - 1))
        if (s->table[i]->addr == addr)
            return s->table[i];
    return NULL;
}

static void table_put(struct space *s, struct patch *p)
{
    size_t i = bucket(s, p->addr);

    while (s->table[i])
        i = (i + 1) & (s->cap - 1);
    s->table[i] = p;
}

static int table_grow(struct space *s)
{
    size_t old_cap = s->cap, cap = old_cap ? 2 * old_cap : 64;
    struct patch **old = s->table, **table;

    if (2 * (s->n_patches + 1) <= old_cap)
        return 0;
    table = calloc(cap, sizeof(struct patch *));
    if (!table)
        return -ENOMEM;
    s->table = table;
    s->cap = cap;
    for (size_t i = 0; i < old_cap; i++)
        if (old[i])
            table_put(s, old[i]);
    free(old);
    return 0;
}

static void table_remove(struct space *s, const struct patch *p)
{
    size_t i = bucket(s, p->addr);

    while (s->table[i] != p)
        i = (i + 1) & (s->cap - 1);
    s->table[i] = NULL;
    s->n_patches--;
    /* what was pushed on past here moves up */
    for (i = (i + 1) & (s->cap - 1); s->table[i]; i = (i + 1) & (s->cap - 1)) {
        struct patch *moved = s->table[i];

        s->table[i] = NULL;
        table_put(s, moved);
    }
}

bool patch_was(const struct space *s, uint64_t addr)
{
    for (size_t i = 0; i < s->n_gone; i++)
        if (s->gone[i].addr == addr)
            return true;
    return false;
}

static int remember_gone(struct space *s, const struct patch *p)
{
    struct gone *more;

    if (patch_was(s, p->addr))
        return 0;
    more = realloc(s->gone, (s->n_gone + 1) * sizeof *more);
    if (!more)
        return -ENOMEM;
    s->gone = more;
    s->gone[s->n_gone++] = (struct gone){p->addr, p->original};
    return 0;
}

/* The patch in whose copy rip lies, and the address that stands for in the program. */
const struct patch *patch_of_slot(const struct space *s, uint64_t rip, uint64_t *ret_addr)
{
    if (rip < s->slot_low || rip >= s->slot_high)
        return NULL;
    for (size_t i = 0; i < s->cap; i++) {
        const struct patch *p = s->table[i];

        if (!p || !p->slot)
            continue;
        if (rip == p->slot) {
            *ret_addr = p->addr;
            return p;
        }
        if (rip == p->slot + p->slot_len) {
            *ret_addr = p->addr + p->len;
            return p;
        }
    }
    return NULL;
}

static int by_address(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static int overlay_build(struct space *s)
{
    uint64_t *addrs = malloc((s->n_patches + 1) * sizeof *addrs);
    uint8_t *bytes = malloc(s->n_patches + 1);
    size_t n = 0;

    if (!addrs || !bytes) {
        free(addrs);
        free(bytes);
        return -ENOMEM;
    }
    for (size_t i = 0; i < s->cap; i++)
        if (s->table[i])
            addrs[n++] = s->table[i]->addr;
    qsort(addrs, n, sizeof *addrs, by_address);
    for (size_t i = 0; i < n; i++)
        bytes[i] = patch_find(s, addrs[i])->original;
    free(s->over_addrs);
    free(s->over_bytes);
    s->over_addrs = addrs;
    s->over_bytes = bytes;
    s->overlay = (struct overlay){addrs, bytes, n};
    return 0;
}

/* Debug registers: Intel SDM volume 3, 19.2.4. */
static uint64_t dr7(const struct space *s)
{
    static const uint8_t lengths[9] = {[1] = 0, [2] = 1, [4] = 3, [8] = 2};
    uint64_t value = 0;

    for (unsigned i = 0; i < HW_SLOTS; i++) {
        const struct site *site = s->hw[i];
        uint64_t what;

        if (!site)
            continue;
        what = site->kind == SITE_HW ? 0 : site->kind == SITE_WRITE ? 1 : 3;
        if (what)
            what |= (uint64_t)lengths[site->len] << 2;
        value |= 1ull << (2 * i) | what << (16 + 4 * i);
    }
    return value;
}

static int poke_debug(pid_t tid, unsigned number, uint64_t value)
{
    size_t at = offsetof(struct user, u_debugreg) + 8 * number;

    return ptrace(PTRACE_POKEUSER, tid, (void *)at, (void *)value) < 0 ? -errno : 0;
}

int hw_clear(pid_t tid)
{
    return poke_debug(tid, 7, 0);
}

/* The task is stopped. */
int hw_write(const struct space *s, pid_t tid)
{
    int rc = poke_debug(tid, 7, 0);

    for (unsigned i = 0; i < HW_SLOTS && !rc; i++)
        if (s->hw[i])
            rc = poke_debug(tid, i, s->hw[i]->addr);
    return rc ? rc : poke_debug(tid, 7, dr7(s));
}

static int hw_write_all(struct live *l, struct space *s)
{
    int rc = 0;

    for (size_t i = 0; i < 256; i++)
        for (struct task *t = l->tasks[i]; t; t = t->next)
            if (t->space == s && t->state != TASK_NEW) {
                int one = hw_write(s, t->tid);

                if (one && one != -ESRCH && !rc)
                    rc = one;
            }
    return rc;
}

static int guard_space(struct live *l, struct space *s)
{
    int rc = 0;

    if (l->has_guardian && !s->guarded) {
        rc = guardian_add_file(&l->guardian, s->mem.fd, &s->guard_file);
        s->guarded = !rc;
    }
    return rc;
}

static int arm_hw(struct live *l, struct space *s, struct site *site)
{
    unsigned i = 0;
    int rc;

    while (i < HW_SLOTS && s->hw[i])
        i++;
    if (i == HW_SLOTS)
        return -ENOSPC;
    rc = guard_space(l, s);
    if (!rc && l->has_guardian)
        rc = guardian_debug_registers(&l->guardian, s->guard_file, s->tgid);
    if (!rc)
        rc = tasks_pause(l, s);
    if (rc)
        return rc;
    s->hw[i] = site;
    rc = hw_write_all(l, s);
    if (rc) {
        s->hw[i] = NULL;
        hw_write_all(l, s);
    } else {
        s->n_hw++;
        s->hw_used = true;
        s->n_watch += site->kind != SITE_HW;
    }
    tasks_unpause(l, s);
    return rc;
}

static void disarm_hw(struct live *l, struct space *s, struct site *site)
{
    if (tasks_pause(l, s))
        return;
    for (unsigned i = 0; i < HW_SLOTS; i++)
        if (s->hw[i] == site)
            s->hw[i] = NULL;
    s->n_hw--;
    s->n_watch -= site->kind != SITE_HW;
    hw_write_all(l, s);
    tasks_unpause(l, s);
}

static int guard(struct live *l, struct space *s, struct patch *p)
{
    const uint8_t int3 = INT3;
    int rc;

    if (!l->has_guardian)
        return 0;
    rc = guard_space(l, s);
    if (rc)
        return rc;
    return guardian_add(&l->guardian, s->guard_file, p->addr, &int3, &p->original, 1, &p->guard);
}

static void unguard(struct live *l, const struct space *s, const struct patch *p)
{
    if (l->has_guardian && s->guarded)
        guardian_remove(&l->guardian, p->guard);
}

static void choose_past(struct patch *p, const struct space *s, const struct live_new_site *n)
{
    p->touches_memory =
        p->emu.kind == EMU_PUSH || p->emu.kind == EMU_POP || p->emu.kind >= EMU_JMP_MEM;
    p->otherwise = n->slot ? PAST_SLOT : PAST_STEP;
    p->slot = n->slot;
    p->slot_len = n->slot_len;
    p->len = n->code_len;
    p->past = p->otherwise;
    if (p->code[0] == 0x0f && p->code[1] == 0x05) {
        p->past = s->gadget ? PAST_CALL : PAST_STEP;
    } else if (n->may_emulate && p->emu.kind != EMU_NONE) {
        p->past = PAST_EMULATE;
    }
}

static int arm_code(struct live *l, struct space *s, struct site *site,
                    const struct live_new_site *n)
{
    const uint8_t int3 = INT3;
    struct patch *p = patch_find(s, site->addr);
    unsigned together = 0;
    size_t got;
    int rc;

    if (p) {
        for (const struct site *o = p->sites; o; o = o->next)
            together++;
        if (together >= MAX_TOGETHER)
            return -ENOSPC;
        site->next = p->sites;
        p->sites = site;
        return 0;
    }
    rc = table_grow(s);
    if (rc)
        return rc;
    p = calloc(1, sizeof *p);
    if (!p)
        return -ENOMEM;
    p->addr = site->addr;
    got = mem_read_some(&s->mem, p->addr, p->code, sizeof p->code);
    if (!got) {
        free(p);
        return -EFAULT;
    }
    overlay_apply(&s->overlay, p->addr, p->code, got);
    p->original = p->code[0];
    if (p->original == INT3) {
        free(p);
        return -EBUSY; /* the program's own breakpoint, or another debugger's */
    }
    emu_decode(p->code, got, p->addr, &p->emu);
    choose_past(p, s, n);
    rc = guard(l, s, p);
    if (!rc) {
        rc = mem_write(&s->mem, p->addr, &int3, 1);
        if (rc)
            unguard(l, s, p);
    }
    if (rc) {
        free(p);
        return rc;
    }
    if (p->slot) {
        if (!s->slot_high || p->slot < s->slot_low)
            s->slot_low = p->slot;
        if (p->slot + 64 > s->slot_high)
            s->slot_high = p->slot + 64;
    }
    p->sites = site;
    table_put(s, p);
    s->n_patches++;
    return overlay_build(s);
}

/* Paused tasks that are in the copy go back to the original. */
static void leave_slot(struct live *l, const struct space *s, const struct patch *p)
{
    uint64_t rip;

    for (size_t i = 0; p->slot && i < 256; i++)
        for (const struct task *t = l->tasks[i]; t; t = t->next) {
            if (t->space != s || reg_peek(t->tid, R_RIP, &rip))
                continue;
            if (rip == p->slot)
                reg_poke(t->tid, R_RIP, p->addr);
            else if (rip == p->slot + p->slot_len)
                reg_poke(t->tid, R_RIP, p->addr + p->len);
        }
}

/* Something else may be mapped there by now. */
static int put_back(const struct space *s, const struct patch *p)
{
    uint8_t now;
    int rc = mem_read(&s->mem, p->addr, &now, 1);

    if (!rc && now == INT3)
        rc = mem_write(&s->mem, p->addr, &p->original, 1);
    return rc == -ESRCH || rc == -EFAULT ? 0 : rc;
}

static int disarm_code(struct live *l, struct space *s, struct site *site)
{
    struct patch *p = patch_find(s, site->addr);
    struct site **link;
    int rc;

    if (!p)
        return 0;
    for (link = &p->sites; *link && *link != site; link = &(*link)->next)
        ;
    if (*link)
        *link = site->next;
    if (p->sites)
        return 0;
    /* A task may be executing the copy, or have the trap still to be told: the
     * address is remembered, the copy stays in memory. */
    rc = remember_gone(s, p);
    if (!rc)
        rc = put_back(s, p);
    unguard(l, s, p);
    if (l->frozen)
        leave_slot(l, s, p);
    table_remove(s, p);
    free(p);
    overlay_build(s);
    return rc;
}

static void site_free(struct live *l, struct site *site)
{
    cond_destroy(site->when);
    for (unsigned i = 0; i < site->n_collect; i++)
        cond_destroy(site->collect[i]);
    if (site->id < l->by_id_cap)
        l->by_id[site->id] = NULL;
    free(site);
}

struct site *live_site(const struct live *l, uint32_t id)
{
    return id < l->by_id_cap ? l->by_id[id] : NULL;
}

static int site_create(struct live *l, struct space *s, const struct live_new_site *n,
                       struct site **ret)
{
    struct site *site = calloc(1, sizeof *site);

    if (site && l->next_site >= l->by_id_cap) {
        size_t cap = l->by_id_cap ? 2 * l->by_id_cap : 64;
        struct site **by_id = realloc(l->by_id, cap * sizeof(struct site *));

        if (!by_id) {
            free(site);
            site = NULL;
        } else {
            memset(by_id + l->by_id_cap, 0, (cap - l->by_id_cap) * sizeof(struct site *));
            l->by_id = by_id;
            l->by_id_cap = cap;
        }
    }
    if (!site) {
        cond_destroy(n->when);
        for (unsigned i = 0; i < n->n_collect; i++)
            cond_destroy(n->collect[i]);
        return -ENOMEM;
    }
    site->id = l->next_site++;
    site->kind = n->kind;
    site->space = s;
    site->addr = n->addr;
    site->len = n->len;
    site->when = n->when;
    site->reports = n->reports;
    site->stop_at = n->stop_at;
    site->n_collect = n->n_collect;
    memcpy(site->collect, n->collect, sizeof site->collect);
    l->by_id[site->id] = site;
    *ret = site;
    return 0;
}

int live_arm(struct live *l, struct space *s, const struct live_new_site *n, uint32_t *ret)
{
    struct site *site;
    int rc = site_create(l, s, n, &site);

    if (rc)
        return rc;
    rc = n->kind == SITE_CODE ? arm_code(l, s, site, n) : arm_hw(l, s, site);
    if (rc)
        site_free(l, site);
    else
        *ret = site->id;
    return rc;
}

int live_disarm(struct live *l, struct site *site)
{
    int rc = 0;

    if (!site->space)
        ; /* went with its process */
    else if (site->kind == SITE_CODE)
        rc = disarm_code(l, site->space, site);
    else
        disarm_hw(l, site->space, site);
    site_free(l, site);
    return rc;
}

/* Original bytes back everywhere; every task of the space is stopped, or gone. */
int patches_lift(struct live *l, struct space *s)
{
    int rc = 0;

    for (size_t i = 0; i < s->cap; i++) {
        struct patch *p = s->table[i];
        int one;

        if (!p)
            continue;
        one = put_back(s, p);
        if (one && !rc)
            rc = one;
        unguard(l, s, p);
    }
    return rc;
}

/* A fork copied the int3s: they are taken out of the copy. */
int patches_clean_copy(const struct space *from, const struct mem *m)
{
    for (size_t i = 0; i < from->cap; i++) {
        const struct patch *p = from->table[i];
        int rc;

        if (!p)
            continue;
        rc = mem_write(m, p->addr, &p->original, 1);
        if (rc && rc != -EFAULT)
            return rc;
    }
    /* one that was taken away between the fork and the news of it */
    for (size_t i = 0; i < from->n_gone; i++) {
        const struct gone *g = &from->gone[i];
        uint8_t now;

        if (mem_read(m, g->addr, &now, 1) == 0 && now == INT3)
            mem_write(m, g->addr, &g->original, 1);
    }
    return 0;
}

/* Takes all sites from a space, without touching the program. Their counts stay. */
int sites_retire(struct live *l, struct space *s)
{
    for (size_t i = 0; i < s->cap; i++) {
        struct patch *p = s->table[i];

        if (!p)
            continue;
        while (p->sites) {
            struct site *site = p->sites;

            p->sites = site->next;
            site->space = NULL;
        }
        unguard(l, s, p);
        free(p);
    }
    free(s->table);
    s->table = NULL;
    s->cap = s->n_patches = 0;
    for (unsigned i = 0; i < HW_SLOTS; i++) {
        if (s->hw[i])
            s->hw[i]->space = NULL;
        s->hw[i] = NULL;
    }
    s->n_hw = s->n_watch = 0;
    return overlay_build(s);
}

void sites_destroy(struct live *l)
{
    for (size_t i = 0; i < l->by_id_cap; i++)
        if (l->by_id[i])
            site_free(l, l->by_id[i]);
    free(l->by_id);
    l->by_id = NULL;
    l->by_id_cap = 0;
}
