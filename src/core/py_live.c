/* relive._core.Live: live programs under breakpoints, for relive.live. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live.h"
#include "module.h"

int regs_from_sequence(PyObject *seq, uint64_t *ret); /* py_tracee.c */

typedef struct {
    PyObject_HEAD
    struct live *live;
    pid_t owner; /* the thread that is the tracer */
} Live;

static struct live *live_of(PyObject *self)
{
    Live *me = (Live *)self;

    if (!me->live) {
        PyErr_SetString(PyExc_ValueError, "closed");
        return NULL;
    }
    if (me->owner != (pid_t)syscall(SYS_gettid)) {
        PyErr_SetString(PyExc_RuntimeError, "a thread's tracees obey that thread only");
        return NULL;
    }
    return me->live;
}

static struct space *space_of(struct live *l, unsigned id)
{
    struct space *s = space_find(l, id);

    if (!s)
        raise_errno(ESRCH);
    return s;
}

static PyObject *py_live_new(PyTypeObject *type, PyObject *args, PyObject *kw)
{
    static char *names[] = {"follow", "one_core", "ring", NULL};
    struct live_options options = {0};
    int follow = 0, one_core = 1, rc;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Py_ssize_t ring = 1 << 20;
    Live *self;

    if (!PyArg_ParseTupleAndKeywords(args, kw, "|ppn", names, &follow, &one_core, &ring))
        return NULL;
    options.follow = options.forks = follow;
    options.one_core = one_core;
    self = (Live *)alloc(type, 0);
    if (!self)
        return NULL;
    self->owner = (pid_t)syscall(SYS_gettid);
    rc = live_create(&options, (size_t)ring, &self->live);
    if (rc) {
        Py_DECREF(self);
        return raise_errno(-rc);
    }
    return (PyObject *)self;
}

static void py_live_dealloc(PyObject *self)
{
    Live *me = (Live *)self;
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

    /* Another thread could not let go of the tracees; the guardian and the kernel do. */
    if (me->live && me->owner == (pid_t)syscall(SYS_gettid))
        live_destroy(me->live);
    release(self);
    Py_DECREF(type);
}

static PyObject *py_close(PyObject *self, PyObject *ignored)
{
    struct live *l;

    (void)ignored;
    if (!((Live *)self)->live)
        Py_RETURN_NONE;
    l = live_of(self);
    if (!l)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    live_destroy(l);
    Py_END_ALLOW_THREADS
    ((Live *)self)->live = NULL;
    Py_RETURN_NONE;
}

static PyObject *py_attach(PyObject *self, PyObject *args)
{
    struct live *l = live_of(self);
    struct space *s;
    int pid, rc;

    if (!l || !PyArg_ParseTuple(args, "i", &pid))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    rc = live_attach(l, pid, &s);
    Py_END_ALLOW_THREADS
    if (rc)
        return raise_errno(-rc);
    return PyLong_FromUnsignedLong(s->id);
}

static char **strings_of(PyObject *seq)
{
    Py_ssize_t n = PySequence_Size(seq);
    char **out;

    if (n < 0)
        return NULL;
    out = calloc((size_t)n + 1, sizeof *out);
    if (!out) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *item = PySequence_GetItem(seq, i);
        char *text = item ? PyBytes_AsString(item) : NULL;

        if (text)
            out[i] = strdup(text);
        Py_XDECREF(item);
        if (!out[i]) {
            if (!PyErr_Occurred())
                PyErr_NoMemory();
            for (Py_ssize_t k = 0; k < i; k++)
                free(out[k]);
            free(out);
            return NULL;
        }
    }
    return out;
}

static void strings_free(char **strings)
{
    for (char **s = strings; s && *s; s++)
        free(*s);
    free(strings);
}

static PyObject *py_start(PyObject *self, PyObject *args)
{
    struct live *l = live_of(self);
    PyObject *argv_seq, *envp_seq;
    char **argv = NULL, **envp = NULL;
    struct space *s = NULL;
    const char *path;
    int group = 0, rc;

    if (!l || !PyArg_ParseTuple(args, "yOO|i", &path, &argv_seq, &envp_seq, &group))
        return NULL;
    argv = strings_of(argv_seq);
    envp = argv ? strings_of(envp_seq) : NULL;
    if (!envp) {
        strings_free(argv);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    rc = live_start(l, path, argv, envp, group, &s);
    Py_END_ALLOW_THREADS
    strings_free(argv);
    strings_free(envp);
    if (rc)
        return raise_errno(-rc);
    return Py_BuildValue("Ii", s->id, (int)s->tgid);
}

static PyObject *hits_of(const struct live_event *e)
{
    PyObject *list = PyTuple_New(e->n_hits);

    for (unsigned i = 0; list && i < e->n_hits; i++) {
        const struct live_hit *h = &e->hits[i];
        PyObject *item = Py_BuildValue("IiKKiK", h->site, (int)h->outcome,
                                       (unsigned long long)h->hits,
                                       (unsigned long long)h->candidates, h->why,
                                       (unsigned long long)h->fault);

        if (!item || PyTuple_SetItem(list, i, item) < 0)
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *event_of(const struct live_event *e)
{
    switch (e->kind) {
    case LIVE_NOTHING:
        Py_RETURN_NONE;
    case LIVE_HIT:
        return Py_BuildValue("iiiIKN", (int)e->kind, (int)e->tid, (int)e->tgid, e->space,
                             (unsigned long long)e->addr, hits_of(e));
    case LIVE_FORK:
        return Py_BuildValue("iiiIi", (int)e->kind, (int)e->tid, (int)e->tgid, e->space,
                             (int)e->other);
    case LIVE_EXEC:
        return Py_BuildValue("iiiII", (int)e->kind, (int)e->tid, (int)e->tgid, e->space,
                             e->old_space);
    case LIVE_EXIT:
        return Py_BuildValue("iiiIi", (int)e->kind, (int)e->tid, (int)e->tgid, e->space, e->status);
    case LIVE_TRAP:
        return Py_BuildValue("iiiIiiKK", (int)e->kind, (int)e->tid, (int)e->tgid, e->space,
                             e->signo, e->code, (unsigned long long)e->addr,
                             (unsigned long long)e->data);
    case LIVE_THREAD:
        return Py_BuildValue("iiiI", (int)e->kind, (int)e->tid, (int)e->tgid, e->space);
    case LIVE_DRAIN:
    case LIVE_EMPTY:
        return Py_BuildValue("(i)", (int)e->kind);
    }
    Py_RETURN_NONE;
}

static PyObject *py_run(PyObject *self, PyObject *args)
{
    struct live *l = live_of(self);
    int timeout = -1, rc;
    struct live_event e;

    if (!l || !PyArg_ParseTuple(args, "|i", &timeout))
        return NULL;
    do {
        Py_BEGIN_ALLOW_THREADS
        rc = live_run(l, timeout, &e);
        Py_END_ALLOW_THREADS
        if (rc == -EINTR && PyErr_CheckSignals() < 0)
            return NULL;
    } while (rc == -EINTR);
    if (rc)
        return raise_errno(-rc);
    return event_of(&e);
}

static PyObject *py_settle(PyObject *self, PyObject *ignored)
{
    struct live *l = live_of(self);
    struct live_event e;
    int rc;

    (void)ignored;
    if (!l)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    rc = live_settle(l, &e);
    Py_END_ALLOW_THREADS
    if (rc)
        return raise_errno(-rc);
    return event_of(&e);
}

static PyObject *py_resume_task(PyObject *self, PyObject *args)
{
    struct live *l = live_of(self);
    int tid, signo = 0, rc;

    if (!l || !PyArg_ParseTuple(args, "i|i", &tid, &signo))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    rc = live_continue(l, tid, signo);
    Py_END_ALLOW_THREADS
    if (rc)
        return raise_errno(-rc);
    Py_RETURN_NONE;
}

static PyObject *py_pause(PyObject *self, PyObject *ignored)
{
    struct live *l = live_of(self);
    int rc;

    (void)ignored;
    if (!l)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    rc = live_pause(l);
    Py_END_ALLOW_THREADS
    if (rc)
        return raise_errno(-rc);
    Py_RETURN_NONE;
}

static PyObject *py_unpause(PyObject *self, PyObject *ignored)
{
    struct live *l = live_of(self);
    int rc;

    (void)ignored;
    if (!l)
        return NULL;
    rc = live_unpause(l);
    if (rc)
        return raise_errno(-rc);
    Py_RETURN_NONE;
}

static PyObject *py_detach(PyObject *self, PyObject *args)
{
    struct live *l = live_of(self);
    struct space *s = NULL;
    unsigned space = 0;
    int stopped = 0, rc;

    if (!l || !PyArg_ParseTuple(args, "|Ip", &space, &stopped))
        return NULL;
    if (space && !(s = space_of(l, space)))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    rc = live_detach(l, s, stopped);
    Py_END_ALLOW_THREADS
    if (rc)
        return raise_errno(-rc);
    Py_RETURN_NONE;
}

static PyObject *py_call(PyObject *self, PyObject *args)
{
    struct live *l = live_of(self);
    unsigned long long a[6] = {0};
    uint64_t b[6];
    unsigned long nr;
    int64_t result;
    int tid, rc;

    if (!l || !PyArg_ParseTuple(args, "ik|KKKKKK", &tid, &nr, &a[0], &a[1], &a[2], &a[3], &a[4],
                                &a[5]))
        return NULL;
    for (int i = 0; i < 6; i++)
        b[i] = a[i];
    Py_BEGIN_ALLOW_THREADS
    rc = live_call(l, tid, nr, b, &result);
    Py_END_ALLOW_THREADS
    if (rc)
        return raise_errno(-rc);
    return PyLong_FromLongLong(result);
}

static PyObject *py_set_gadget(PyObject *self, PyObject *args)
{
    struct live *l = live_of(self);
    unsigned long long addr;
    struct space *s;
    unsigned space;

    if (!l || !PyArg_ParseTuple(args, "IK", &space, &addr) || !(s = space_of(l, space)))
        return NULL;
    s->gadget = addr;
    Py_RETURN_NONE;
}

/* (code, stack words) -> a condition; None -> NULL. */
static int cond_of(PyObject *item, struct cond **ret)
{
    Py_buffer code;
    unsigned depth;
    int rc;

    *ret = NULL;
    if (item == Py_None)
        return 0;
    if (!PyArg_ParseTuple(item, "y*I", &code, &depth))
        return -1;
    rc = cond_create(code.buf, (size_t)code.len, depth, ret);
    PyBuffer_Release(&code);
    if (rc == -EINVAL)
        PyErr_SetString(PyExc_ValueError, "no sound condition code");
    else if (rc)
        raise_errno(-rc);
    return rc ? -1 : 0;
}

static void conds_destroy(struct live_new_site *n)
{
    cond_destroy(n->when);
    for (unsigned i = 0; i < n->n_collect; i++)
        cond_destroy(n->collect[i]);
}

static PyObject *py_arm(PyObject *self, PyObject *args)
{
    struct live *l = live_of(self);
    struct live_new_site n = {0};
    int kind, reports, may_emulate, rc;
    unsigned long long addr, stop_at, slot;
    PyObject *when, *collect;
    unsigned space;
    struct space *s;
    uint32_t id = 0;

    if (!l || !PyArg_ParseTuple(args, "IiKIOpKOpKII", &space, &kind, &addr, &n.len, &when, &reports,
                                &stop_at, &collect, &may_emulate, &slot, &n.slot_len, &n.code_len))
        return NULL;
    s = space_of(l, space);
    if (!s)
        return NULL;
    if (kind < SITE_CODE || kind > SITE_ACCESS ||
        (kind >= SITE_WRITE && n.len != 1 && n.len != 2 && n.len != 4 && n.len != 8) ||
        PySequence_Size(collect) > MAX_COLLECT) {
        PyErr_SetString(PyExc_ValueError, "no such site");
        return NULL;
    }
    n.kind = (enum site_kind)kind;
    n.addr = addr;
    n.reports = reports;
    n.stop_at = stop_at;
    n.may_emulate = may_emulate;
    n.slot = slot;
    if (cond_of(when, &n.when))
        return NULL;
    for (Py_ssize_t i = 0; i < PySequence_Size(collect); i++) {
        PyObject *item = PySequence_GetItem(collect, i);

        rc = item ? cond_of(item, &n.collect[n.n_collect]) : -1;
        Py_XDECREF(item);
        if (rc) {
            conds_destroy(&n);
            return NULL;
        }
        n.n_collect++;
    }
    Py_BEGIN_ALLOW_THREADS
    rc = live_arm(l, s, &n, &id);
    Py_END_ALLOW_THREADS
    if (rc)
        return raise_errno(-rc);
    return PyLong_FromUnsignedLong(id);
}

static struct site *site_of(struct live *l, unsigned id)
{
    struct site *site = live_site(l, id);

    if (!site)
        PyErr_SetString(PyExc_KeyError, "no such site");
    return site;
}

static PyObject *counts_of(const struct site *site)
{
    return Py_BuildValue("KKKK", (unsigned long long)site->hits,
                         (unsigned long long)site->candidates, (unsigned long long)site->rejected,
                         (unsigned long long)site->undecided);
}

static PyObject *py_counts(PyObject *self, PyObject *args)
{
    struct live *l = live_of(self);
    struct site *site;
    unsigned id;

    if (!l || !PyArg_ParseTuple(args, "I", &id) || !(site = site_of(l, id)))
        return NULL;
    return counts_of(site);
}

static PyObject *py_disarm(PyObject *self, PyObject *args)
{
    struct live *l = live_of(self);
    struct site *site;
    PyObject *counts;
    unsigned id;
    int rc;

    if (!l || !PyArg_ParseTuple(args, "I", &id) || !(site = site_of(l, id)))
        return NULL;
    counts = counts_of(site);
    if (!counts)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    rc = live_disarm(l, site);
    Py_END_ALLOW_THREADS
    if (rc) {
        Py_DECREF(counts);
        return raise_errno(-rc);
    }
    return counts;
}

static PyObject *py_drain(PyObject *self, PyObject *ignored)
{
    struct live *l = live_of(self);
    PyObject *out;

    (void)ignored;
    if (!l)
        return NULL;
    out = PyBytes_FromStringAndSize((const char *)l->ring, (Py_ssize_t)l->ring_len);
    if (out)
        l->ring_len = 0;
    return out;
}

static PyObject *py_read(PyObject *self, PyObject *args)
{
    struct live *l = live_of(self);
    unsigned long long addr;
    struct space *s;
    PyObject *out;
    unsigned space;
    Py_ssize_t n;
    int rc;

    if (!l || !PyArg_ParseTuple(args, "IKn", &space, &addr, &n) || !(s = space_of(l, space)))
        return NULL;
    out = PyBytes_FromStringAndSize(NULL, n);
    if (!out)
        return NULL;
    rc = mem_read(&s->mem, addr, PyBytes_AsString(out), (size_t)n);
    if (rc) {
        Py_DECREF(out);
        return raise_errno(-rc);
    }
    overlay_apply(&s->overlay, addr, (uint8_t *)PyBytes_AsString(out), (size_t)n);
    return out;
}

/* Breakpoint instructions stay; the bytes under them change. */
static PyObject *py_write(PyObject *self, PyObject *args)
{
    struct live *l = live_of(self);
    unsigned long long addr;
    Py_buffer data;
    struct space *s;
    unsigned space;
    uint8_t *bytes;
    int rc = 0;

    if (!l || !PyArg_ParseTuple(args, "IKy*", &space, &addr, &data))
        return NULL;
    s = space_of(l, space);
    if (s)
        for (size_t i = 0; i < s->overlay.count && !rc; i++)
            if (s->over_addrs[i] >= addr && s->over_addrs[i] < addr + (size_t)data.len)
                rc = -EBUSY; /* armed code: its site has to go first */
    if (!s || rc) {
        PyBuffer_Release(&data);
        return s ? raise_errno(-rc) : NULL;
    }
    bytes = data.buf;
    rc = mem_write(&s->mem, addr, bytes, (size_t)data.len);
    PyBuffer_Release(&data);
    if (rc)
        return raise_errno(-rc);
    Py_RETURN_NONE;
}

static PyObject *py_tasks(PyObject *self, PyObject *ignored)
{
    struct live *l = live_of(self);
    PyObject *list;

    (void)ignored;
    if (!l)
        return NULL;
    list = PyList_New(0);
    for (size_t i = 0; list && i < 256; i++)
        for (const struct task *t = l->tasks[i]; t && list; t = t->next) {
            bool callable = !t->has_pending && !t->resume_signo && (t->state == TASK_PAUSED || t->state == TASK_HELD);
            PyObject *item = Py_BuildValue("iiIO", (int)t->tid, (int)t->tgid, t->space->id,
                                           callable ? Py_True : Py_False);

            if (!item || PyList_Append(list, item) < 0)
                Py_CLEAR(list);
            Py_XDECREF(item);
        }
    return list;
}

static PyObject *py_foreign(PyObject *self, PyObject *args)
{
    struct live *l = live_of(self);
    unsigned long long signals;
    PyObject *seq, *ranges_seq;
    struct live_range *ranges;
    Py_ssize_t n, n_ranges;
    uint64_t *traps;

    if (!l || !PyArg_ParseTuple(args, "KOO", &signals, &seq, &ranges_seq) ||
        (n = PySequence_Size(seq)) < 0 || (n_ranges = PySequence_Size(ranges_seq)) < 0)
        return NULL;
    ranges = calloc((size_t)n_ranges + 1, sizeof *ranges);
    if (!ranges)
        return PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < n_ranges; i++) {
        PyObject *item = PySequence_GetItem(ranges_seq, i);
        unsigned long long low, high;
        int ok = item && PyArg_ParseTuple(item, "KK", &low, &high);

        Py_XDECREF(item);
        if (!ok) {
            free(ranges);
            return NULL;
        }
        ranges[i] = (struct live_range){low, high};
    }
    traps = calloc((size_t)n + 1, sizeof *traps);
    if (!traps) {
        free(ranges);
        return PyErr_NoMemory();
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *item = PySequence_GetItem(seq, i);

        traps[i] = item ? PyLong_AsUnsignedLongLong(item) : 0;
        Py_XDECREF(item);
        if (PyErr_Occurred()) {
            free(traps);
            free(ranges);
            return NULL;
        }
    }
    free(l->traps);
    free(l->ranges);
    l->ranges = ranges;
    l->n_ranges = (size_t)n_ranges;
    l->traps = traps;
    l->n_traps = (size_t)n;
    l->sigs = signals;
    Py_RETURN_NONE;
}

static PyObject *py_report(PyObject *self, PyObject *args)
{
    struct live *l = live_of(self);
    int forks, threads;

    if (!l || !PyArg_ParseTuple(args, "pp", &forks, &threads))
        return NULL;
    l->options.forks = forks || l->options.follow;
    l->options.threads = threads;
    Py_RETURN_NONE;
}

static PyObject *py_guard(PyObject *self, PyObject *args)
{
    struct live *l = live_of(self);
    Py_buffer patched, original;
    unsigned long long addr;
    struct space *s;
    uint32_t entry = 0;
    unsigned space;
    int rc = -EINVAL;

    if (!l || !PyArg_ParseTuple(args, "IKy*y*", &space, &addr, &patched, &original))
        return NULL;
    s = space_of(l, space);
    if (s && patched.len == original.len) {
        rc = 0;
        if (!s->guarded) {
            rc = guardian_add_file(&l->guardian, s->mem.fd, &s->guard_file);
            s->guarded = !rc;
        }
        if (!rc)
            rc = guardian_add(&l->guardian, s->guard_file, addr, patched.buf, original.buf,
                              (unsigned)patched.len, &entry);
    }
    PyBuffer_Release(&patched);
    PyBuffer_Release(&original);
    if (!s)
        return NULL;
    if (rc)
        return raise_errno(-rc);
    return PyLong_FromUnsignedLong(entry);
}

static PyObject *py_unguard(PyObject *self, PyObject *args)
{
    struct live *l = live_of(self);
    unsigned entry;

    if (!l || !PyArg_ParseTuple(args, "I", &entry))
        return NULL;
    guardian_remove(&l->guardian, entry);
    Py_RETURN_NONE;
}

static PyObject *py_guardian_pid(PyObject *self, PyObject *ignored)
{
    struct live *l = live_of(self);

    (void)ignored;
    return l ? PyLong_FromLong(l->guardian.pid) : NULL;
}

static PyMethodDef live_methods[] = {
    {"close", py_close, METH_NOARGS, "Put everything back and let everybody go."},
    {"attach", py_attach, METH_VARARGS, "attach(pid) -> space, its threads paused"},
    {"start", py_start, METH_VARARGS, "start(path, argv, envp, group=0) -> (space, pid), paused at exec"},
    {"run", py_run, METH_VARARGS, "run(timeout_ms=-1) -> event or None"},
    {"resume", py_resume_task, METH_VARARGS, "resume(tid, signal=0): a held task goes on"},
    {"pause", py_pause, METH_NOARGS, "Stop all tasks."},
    {"settle", py_settle, METH_NOARGS, "While paused: deal with what tasks stopped for; an event"
                                       " or None"},
    {"unpause", py_unpause, METH_NOARGS, "Let the paused tasks go on, not the held ones."},
    {"detach", py_detach, METH_VARARGS, "detach(space=0, stopped=False)"},
    {"call", py_call, METH_VARARGS, "call(tid, nr, *args) -> result of a system call"},
    {"set_gadget", py_set_gadget, METH_VARARGS, "set_gadget(space, address of a syscall instruction)"},
    {"arm", py_arm, METH_VARARGS,
     "arm(space, kind, address, length, when, reports, stop_at, collect, emulate, slot, slot_len,"
     " code_len) -> site"},
    {"disarm", py_disarm, METH_VARARGS, "disarm(site) -> its counts"},
    {"counts", py_counts, METH_VARARGS, "counts(site) -> (hits, candidates, rejected, undecided)"},
    {"drain", py_drain, METH_NOARGS, "Take what was collected."},
    {"read", py_read, METH_VARARGS, "read(space, address, size) -> bytes, without breakpoints"},
    {"write", py_write, METH_VARARGS, "write(space, address, bytes)"},
    {"tasks", py_tasks, METH_NOARGS, "[(tid, process, space, whether it can make calls)]"},
    {"report", py_report, METH_VARARGS, "report(forks, threads): which events to make"},
    {"foreign", py_foreign, METH_VARARGS, "foreign(signals, traps, ranges): what other evaluators cause"},
    {"guard", py_guard, METH_VARARGS, "guard(space, address, patched, original) -> entry"},
    {"unguard", py_unguard, METH_VARARGS, "unguard(entry)"},
    {"guardian_pid", py_guardian_pid, METH_NOARGS, "Process id of the guardian."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot live_slots[] = {
    {Py_tp_doc, "Live programs under breakpoints; see relive.live."},
    {Py_tp_new, py_live_new},
    {Py_tp_dealloc, py_live_dealloc},
    {Py_tp_methods, live_methods},
    {0, NULL},
};

PyType_Spec live_spec = {
    .name = "relive._core.Live",
    .basicsize = sizeof(Live),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = live_slots,
};

/* -- for tests: conditions and emulation by themselves */

static PyObject *py_condition(PyObject *self, PyObject *args)
{
    unsigned long long hits;
    uint64_t regs[EV_NREGS], value = 0, fault = 0;
    struct cond *c;
    PyObject *item, *seq;
    int pid, rc;

    (void)self;
    if (!PyArg_ParseTuple(args, "OOiK", &item, &seq, &pid, &hits) ||
        regs_from_sequence(seq, regs) || cond_of(item, &c))
        return NULL;
    if (!c) {
        PyErr_SetString(PyExc_TypeError, "a condition is needed");
        return NULL;
    }
    rc = cond_value(c, regs, hits, &(struct cond_memory){pid, NULL}, &value, &fault);
    cond_destroy(c);
    if (rc == -ESRCH)
        return raise_errno(ESRCH);
    return Py_BuildValue("iKK", rc ? UNDECIDED : value ? MATCH : REJECT,
                         (unsigned long long)value, (unsigned long long)fault);
}

static PyObject *py_emulate(PyObject *self, PyObject *args)
{
    unsigned long long addr;
    struct regs r;
    Py_buffer code;
    struct emu e;
    PyObject *seq, *out;
    int pid, rc, only_rip;

    (void)self;
    if (!PyArg_ParseTuple(args, "y*KOi", &code, &addr, &seq, &pid))
        return NULL;
    emu_decode(code.buf, (size_t)code.len, addr, &e);
    PyBuffer_Release(&code);
    if (regs_from_sequence(seq, r.r))
        return NULL;
    if (e.kind == EMU_NONE)
        Py_RETURN_NONE;
    rc = emu_run(&e, pid, addr, &r, &only_rip);
    if (rc)
        return raise_errno(-rc);
    out = PyTuple_New(EV_NREGS);
    for (Py_ssize_t i = 0; out && i < EV_NREGS; i++) {
        PyObject *v = PyLong_FromUnsignedLongLong(r.r[i]);

        if (!v || PyTuple_SetItem(out, i, v) < 0)
            Py_CLEAR(out);
    }
    return out ? Py_BuildValue("IN", (unsigned)e.len, out) : NULL;
}

static PyObject *py_emulated_length(PyObject *self, PyObject *args)
{
    Py_buffer code;
    struct emu e;

    (void)self;
    if (!PyArg_ParseTuple(args, "y*", &code))
        return NULL;
    emu_decode(code.buf, (size_t)code.len, 0, &e);
    PyBuffer_Release(&code);
    return PyLong_FromLong(e.kind == EMU_NONE ? 0 : e.len);
}

static PyMethodDef live_functions[] = {
    {"condition", py_condition, METH_VARARGS,
     "condition((code, depth), registers, pid, hits) -> (outcome, value, address at fault)"},
    {"emulate", py_emulate, METH_VARARGS,
     "emulate(code, address, registers, pid) -> (length, registers), None when it can't"},
    {"emulated_length", py_emulated_length, METH_VARARGS,
     "emulated_length(code) -> bytes of an instruction that can be emulated, else 0"},
    {NULL, NULL, 0, NULL},
};

int live_add_constants(PyObject *module)
{
    static const struct {
        const char *name;
        long value;
    } constants[] = {
        {"LIVE_HIT", LIVE_HIT},     {"LIVE_FORK", LIVE_FORK},     {"LIVE_EXEC", LIVE_EXEC},
        {"LIVE_EXIT", LIVE_EXIT},   {"LIVE_DRAIN", LIVE_DRAIN},   {"LIVE_TRAP", LIVE_TRAP},
        {"LIVE_THREAD", LIVE_THREAD}, {"LIVE_EMPTY", LIVE_EMPTY},
    };

    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
        if (PyModule_AddIntConstant(module, constants[i].name, constants[i].value) < 0)
            return -1;
    return PyModule_AddFunctions(module, live_functions);
}
