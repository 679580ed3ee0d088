/* relive._core.Live: live programs under breakpoints, for relive.live. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "py_live.h"

struct live *live_of(PyObject *self)
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

struct space *space_of(struct live *l, unsigned id)
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
    {"read", py_read, METH_VARARGS, "read(space, address, size) -> bytes, without breakpoints"},
    {"write", py_write, METH_VARARGS, "write(space, address, bytes)"},
    {"tasks", py_tasks, METH_NOARGS, "[(tid, process, space, whether it can make calls)]"},
    {"report", py_report, METH_VARARGS, "report(forks, threads): which events to make"},
    {"set_gadget", py_set_gadget, METH_VARARGS, "set_gadget(space, address of a syscall instruction)"},
    {"arm", py_arm, METH_VARARGS,
     "arm(space, kind, address, length, when, reports, stop_at, collect, emulate, slot, slot_len,"
     " code_len) -> site"},
    {"disarm", py_disarm, METH_VARARGS, "disarm(site) -> its counts"},
    {"counts", py_counts, METH_VARARGS, "counts(site) -> (hits, candidates, rejected, undecided)"},
    {"drain", py_drain, METH_NOARGS, "Take what was collected."},
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
