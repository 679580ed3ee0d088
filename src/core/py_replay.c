/* relive._core.Replayer: the replay loop for Python. */
#include <errno.h>
#include <string.h>

#include "landmark.h"
#include "module.h"
#include "replay.h"

typedef struct {
    PyObject_HEAD
    struct replayer rp;
    Py_buffer chunk;
    int has_chunk;
} ReplayerObject;

static struct replayer *rp_of(PyObject *self)
{
    return &((ReplayerObject *)self)->rp;
}

/* The wait for a task was interrupted: has a signal handler of Python's something to say? */
static int check_signals(void)
{
    PyGILState_STATE state = PyGILState_Ensure();
    int rc = PyErr_CheckSignals();

    PyGILState_Release(state);
    return rc;
}

/* -EINTR comes with an exception of a signal handler's. */
static PyObject *failed(int rc)
{
    return PyErr_Occurred() ? NULL : raise_errno(-rc);
}

static PyObject *rp_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *self = alloc(type, 0);

    (void)args;
    (void)kwargs;
    if (self) {
        replayer_init(rp_of(self));
        rp_of(self)->check = check_signals;
    }
    return self;
}

static void rp_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    ReplayerObject *o = (ReplayerObject *)self;

    replayer_free(&o->rp);
    if (o->has_chunk)
        PyBuffer_Release(&o->chunk);
    release(self);
    Py_DECREF(type);
}

static PyObject *rp_spawn(PyObject *self, PyObject *args)
{
    const char *path;
    int cpu, tid = 0, rc;

    (void)self;
    if (!PyArg_ParseTuple(args, "yi", &path, &cpu))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    rc = replayer_spawn(path, cpu, &tid);
    Py_END_ALLOW_THREADS
    if (rc)
        return raise_errno(-rc);
    return PyLong_FromLong(tid);
}

static PyObject *rp_feed(PyObject *self, PyObject *args)
{
    ReplayerObject *o = (ReplayerObject *)self;
    unsigned long long first;
    Py_buffer data;

    if (!PyArg_ParseTuple(args, "y*K", &data, &first))
        return NULL;
    if (o->has_chunk)
        PyBuffer_Release(&o->chunk);
    o->chunk = data;
    o->has_chunk = 1;
    replayer_feed(&o->rp, o->chunk.buf, (size_t)o->chunk.len, first);
    Py_RETURN_NONE;
}

static PyObject *rp_run(PyObject *self, PyObject *ignored)
{
    enum rp_reason why;
    int err = 0;

    (void)ignored;
    Py_BEGIN_ALLOW_THREADS
    why = replayer_run(rp_of(self), &err);
    Py_END_ALLOW_THREADS
    if (PyErr_Occurred())
        return NULL;
    return Py_BuildValue("iiK", (int)why, err, (unsigned long long)rp_of(self)->number);
}

static PyObject *rp_finish_call(PyObject *self, PyObject *ignored)
{
    enum rp_reason why;
    int err = 0;

    (void)ignored;
    why = replayer_finish_call(rp_of(self), &err);
    return Py_BuildValue("iiK", (int)why, err, (unsigned long long)rp_of(self)->number);
}

static PyObject *rp_next(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    replayer_next(rp_of(self));
    Py_RETURN_NONE;
}

static PyObject *section(const uint8_t *data, uint32_t len)
{
    return PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)len);
}

/* event() -> (number, kind, flags, nr, task, result, out, extra) of the event
 * at hand. */
static PyObject *rp_event(PyObject *self, PyObject *ignored)
{
    const struct event_in *e = &rp_of(self)->event;

    (void)ignored;
    return Py_BuildValue("KiiiILNN", (unsigned long long)e->number, (int)e->kind, (int)e->flags,
                         (int)e->nr, e->task, (long long)e->result, section(e->out, e->out_len),
                         section(e->extra, e->extra_len));
}

static PyObject *regs_tuple(const uint64_t *r)
{
    PyObject *out = PyTuple_New(EV_NREGS);

    for (Py_ssize_t i = 0; out && i < EV_NREGS; i++)
        PyTuple_SetItem(out, i, PyLong_FromUnsignedLongLong(r[i]));
    return out;
}

/* logged_regs(serial): the registers last logged for the task. */
static PyObject *rp_logged_regs(PyObject *self, PyObject *args)
{
    struct rtask *t;
    unsigned serial;

    if (!PyArg_ParseTuple(args, "I", &serial))
        return NULL;
    t = replayer_task(rp_of(self), serial);
    if (!t)
        return PyErr_Format(PyExc_LookupError, "no replayed task %u", serial);
    return regs_tuple(t->base.regs);
}

/* call_regs(serial): the registers at the entry of the call under way. */
static PyObject *rp_call_regs(PyObject *self, PyObject *args)
{
    struct rtask *t;
    unsigned serial;

    if (!PyArg_ParseTuple(args, "I", &serial))
        return NULL;
    t = replayer_task(rp_of(self), serial);
    if (!t)
        return PyErr_Format(PyExc_LookupError, "no replayed task %u", serial);
    return regs_tuple(t->regs.r);
}

/* begin_call(serial, nr): the task is taken to be in that call (the first exec). */
static PyObject *rp_begin_call(PyObject *self, PyObject *args)
{
    const uint64_t none[6] = {0};
    struct rtask *t;
    unsigned serial, nr;

    if (!PyArg_ParseTuple(args, "II", &serial, &nr))
        return NULL;
    t = replayer_task(rp_of(self), serial);
    if (!t)
        return PyErr_Format(PyExc_LookupError, "no replayed task %u", serial);
    t->in_call = true;
    memset(&t->regs, 0, sizeof t->regs);
    t->regs.r[R_ORIG_RAX] = nr;
    t->desc = call_lookup(nr, none);
    Py_RETURN_NONE;
}

static PyObject *rp_divergence(PyObject *self, PyObject *ignored)
{
    const struct divergence *d = &rp_of(self)->diverged;

    (void)ignored;
    return Py_BuildValue("iIKKK", (int)d->what, d->index, (unsigned long long)d->expected,
                         (unsigned long long)d->found, (unsigned long long)d->rip);
}

static PyObject *rp_add(PyObject *self, PyObject *args)
{
    struct replayer *p = rp_of(self);
    struct rtask *t;
    unsigned serial;
    int tid, rc;

    if (!PyArg_ParseTuple(args, "Ii", &serial, &tid))
        return NULL;
    if ((rc = replayer_add(p, serial, tid)))
        return raise_errno(-rc);
    t = replayer_task(p, serial);
    if (t && p->event.kind == EV_TASK_NEW && p->event.task == serial && p->event.has_regs)
        event_regs(&p->event, p->chunk_no, &t->base);
    Py_RETURN_NONE;
}

static PyObject *rp_renew(PyObject *self, PyObject *args)
{
    unsigned serial;
    int tid, rc;

    if (!PyArg_ParseTuple(args, "Ii", &serial, &tid))
        return NULL;
    if ((rc = replayer_renew(rp_of(self), serial, tid)))
        return raise_errno(-rc);
    Py_RETURN_NONE;
}

static PyObject *rp_drop(PyObject *self, PyObject *args)
{
    unsigned serial;

    if (!PyArg_ParseTuple(args, "I", &serial))
        return NULL;
    replayer_drop(rp_of(self), serial);
    Py_RETURN_NONE;
}

static PyObject *rp_mem_fd(PyObject *self, PyObject *args)
{
    struct rtask *t;
    unsigned serial;

    if (!PyArg_ParseTuple(args, "I", &serial))
        return NULL;
    t = replayer_task(rp_of(self), serial);
    if (!t)
        return PyErr_Format(PyExc_LookupError, "no replayed task %u", serial);
    return PyLong_FromLong(t->mem.fd);
}

/* apply(serial, blob): writes an output blob into the task's memory. */
static PyObject *rp_apply(PyObject *self, PyObject *args)
{
    struct rtask *t;
    unsigned serial;
    Py_buffer blob;
    uint64_t addr = 0;
    int rc = -ESRCH;

    if (!PyArg_ParseTuple(args, "Iy*", &serial, &blob))
        return NULL;
    t = replayer_task(rp_of(self), serial);
    if (t)
        rc = params_apply(blob.buf, (size_t)blob.len, &t->mem, &addr);
    PyBuffer_Release(&blob);
    if (rc)
        return raise_errno(-rc);
    Py_RETURN_NONE;
}

static PyObject *rp_set_output(PyObject *self, PyObject *args)
{
    unsigned long long out_skip = 0, err_skip = 0;
    struct replayer *p = rp_of(self);

    if (!PyArg_ParseTuple(args, "ii|KK", &p->out.fd, &p->err.fd, &out_skip, &err_skip))
        return NULL;
    p->out.skip = out_skip;
    p->err.skip = err_skip;
    Py_RETURN_NONE;
}

static PyObject *rp_echoed(PyObject *self, PyObject *ignored)
{
    const struct replayer *p = rp_of(self);

    (void)ignored;
    return Py_BuildValue("KK", (unsigned long long)p->out.seen, (unsigned long long)p->err.seen);
}

static PyObject *rp_patience(PyObject *self, PyObject *args)
{
    struct watch *w = &rp_of(self)->watch;
    unsigned long long ms = WATCH_PATIENCE_NS / 1000000, was_ms = w->patience / 1000000;
    unsigned factor, was = w->factor;

    if (!PyArg_ParseTuple(args, "I|K", &factor, &ms))
        return NULL;
    w->factor = factor;
    w->patience = 1000000 * (uint64_t)ms;
    watch_anew(rp_of(self)); /* an interval may be gone through more than once */
    return Py_BuildValue("IK", was, was_ms);
}

/* interval_ms(): the longest that the interval before the event at hand can have taken when it was recorded. */
static PyObject *rp_interval_ms(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return PyLong_FromUnsignedLongLong(watch_interval_ms(rp_of(self)));
}

static PyObject *rp_lost(PyObject *self, PyObject *ignored)
{
    const struct watch *w = &rp_of(self)->watch;

    (void)ignored;
    return PyLong_FromUnsignedLongLong(w->lost ? w->limit : 0);
}

/* settle(serial): the interrupted call that is to be made again is rewound to, as resuming the task would do. */
static PyObject *rp_settle(PyObject *self, PyObject *args)
{
    struct rtask *t;
    unsigned serial;
    int rc;

    if (!PyArg_ParseTuple(args, "I", &serial))
        return NULL;
    if (!(t = replayer_task(rp_of(self), serial)))
        return PyErr_Format(PyExc_LookupError, "no replayed task %u", serial);
    if ((rc = replay_settle(t)))
        return raise_errno(-rc);
    Py_RETURN_NONE;
}

static PyObject *rp_stop_at(PyObject *self, PyObject *args)
{
    unsigned long long at;

    if (!PyArg_ParseTuple(args, "K", &at))
        return NULL;
    rp_of(self)->stop_at = at;
    Py_RETURN_NONE;
}

/* advance(serial) -> wait status of the task's next stop, its calls not executed. */
static PyObject *rp_advance(PyObject *self, PyObject *args)
{
    struct replayer *p = rp_of(self);
    struct rtask *t;
    unsigned serial;
    int rc, status = 0;

    if (!PyArg_ParseTuple(args, "I", &serial))
        return NULL;
    if (!(t = replayer_task(p, serial)))
        return PyErr_Format(PyExc_LookupError, "no replayed task %u", serial);
    Py_BEGIN_ALLOW_THREADS
    own_tsc(0);
    rc = replay_advance(p, t, &status);
    own_tsc(1);
    Py_END_ALLOW_THREADS
    if (rc)
        return failed(rc);
    return PyLong_FromLong(status);
}

/* run_for(serial, ns) -> None, or the wait status of another stop. */
static PyObject *rp_run_for(PyObject *self, PyObject *args)
{
    struct replayer *p = rp_of(self);
    unsigned long long ns;
    struct rtask *t;
    unsigned serial;
    int rc, status = 0;

    if (!PyArg_ParseTuple(args, "IK", &serial, &ns))
        return NULL;
    if (!(t = replayer_task(p, serial)))
        return PyErr_Format(PyExc_LookupError, "no replayed task %u", serial);
    Py_BEGIN_ALLOW_THREADS
    own_tsc(0);
    rc = replay_run_for(p, t, ns, &status);
    own_tsc(1);
    Py_END_ALLOW_THREADS
    if (rc < 0)
        return failed(rc);
    if (!rc)
        Py_RETURN_NONE;
    return PyLong_FromLong(status);
}

/* search(serial, words, compare, limit) -> (0 candidate, 1 another stop, 2 limit; wait status, hits) */
static PyObject *rp_search(PyObject *self, PyObject *args)
{
    struct replayer *p = rp_of(self);
    struct search s = {.limit = 0};
    unsigned long long limit;
    int rc, compare, status = 0;
    uint64_t hits = 0;
    Py_buffer words;
    struct rtask *t;
    unsigned serial;

    if (!PyArg_ParseTuple(args, "Iy*pK", &serial, &words, &compare, &limit))
        return NULL;
    if (!(t = replayer_task(p, serial))) {
        PyBuffer_Release(&words);
        return PyErr_Format(PyExc_LookupError, "no replayed task %u", serial);
    }
    s.words = words.buf;
    s.n_words = (unsigned)((size_t)words.len / sizeof *s.words);
    s.compare = compare;
    s.limit = limit;
    Py_BEGIN_ALLOW_THREADS
    own_tsc(0);
    rc = replay_search(p, t, &s, &hits, &status);
    own_tsc(1);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&words);
    if (rc < 0)
        return failed(rc);
    return Py_BuildValue("iiK", rc, status, (unsigned long long)hits);
}

/* compare_sample(serial, max) -> (same, words that differ, extended state is the same,
 * [(address, recorded value), ...]): the sample of the event at hand against memory and extended
 * state as they are. */
static PyObject *rp_compare_sample(PyObject *self, PyObject *args)
{
    struct replayer *p = rp_of(self);
    struct sample_word words[1024];
    struct difference d = {.words = words};
    struct rtask *t;
    PyObject *list;
    unsigned serial;
    int rc;

    if (!PyArg_ParseTuple(args, "II", &serial, &d.max))
        return NULL;
    if (!(t = replayer_task(p, serial)))
        return PyErr_Format(PyExc_LookupError, "no replayed task %u", serial);
    if (d.max > sizeof words / sizeof *words)
        d.max = sizeof words / sizeof *words;
    if ((rc = landmark_compare(t->tid, &t->mem, p->event.out, p->event.out_len, &d)))
        return raise_errno(-rc);
    if (!(list = PyList_New(0)))
        return NULL;
    for (unsigned i = 0; i < d.n; i++) {
        PyObject *item = Py_BuildValue("KK", (unsigned long long)words[i].addr,
                                       (unsigned long long)words[i].value);

        if (!item || PyList_Append(list, item)) {
            Py_XDECREF(item);
            Py_DECREF(list);
            return NULL;
        }
        Py_DECREF(item);
    }
    return Py_BuildValue("iIiN", d.same, d.total, d.xstate_same, list);
}

/* sample_word(address) -> recorded value in the sample of the event at hand, or None. */
static PyObject *rp_sample_word(PyObject *self, PyObject *args)
{
    const struct event_in *e = &rp_of(self)->event;
    unsigned long long wanted;
    uint32_t at = 0;

    if (!PyArg_ParseTuple(args, "K", &wanted))
        return NULL;
    while (e->out_len - at >= 12) {
        uint64_t addr, value;
        uint32_t n;

        memcpy(&addr, e->out + at, 8);
        memcpy(&n, e->out + at + 8, 4);
        at += 12;
        if (n > e->out_len - at)
            break;
        if (wanted >= addr && wanted - addr + 8 <= n) {
            memcpy(&value, e->out + at + (wanted - addr), 8);
            return PyLong_FromUnsignedLongLong(value);
        }
        at += n;
    }
    Py_RETURN_NONE;
}

/* hw_break(serial, address): execution breakpoint in a debug register, 0 for none. A task that is at
 * the address hits it before anything else. */
static PyObject *rp_hw_break(PyObject *self, PyObject *args)
{
    unsigned long long address;
    struct rtask *t;
    unsigned serial;
    int rc;

    if (!PyArg_ParseTuple(args, "IK", &serial, &address))
        return NULL;
    if (!(t = replayer_task(rp_of(self), serial)))
        return PyErr_Format(PyExc_LookupError, "no replayed task %u", serial);
    if ((rc = hw_break(t->tid, 0, address)))
        return raise_errno(-rc);
    if (address && (rc = hit_at_once(t->tid, address)))
        return raise_errno(-rc);
    Py_RETURN_NONE;
}

/* hit_at_once(serial, address): if the task is at the address, a breakpoint there is hit first. */
static PyObject *rp_hit_at_once(PyObject *self, PyObject *args)
{
    unsigned long long address;
    struct rtask *t;
    unsigned serial;
    int rc;

    if (!PyArg_ParseTuple(args, "IK", &serial, &address))
        return NULL;
    if (!(t = replayer_task(rp_of(self), serial)))
        return PyErr_Format(PyExc_LookupError, "no replayed task %u", serial);
    if ((rc = hit_at_once(t->tid, address)))
        return raise_errno(-rc);
    Py_RETURN_NONE;
}

/* number() of the event at hand */
static PyObject *rp_number(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    return PyLong_FromUnsignedLongLong(rp_of(self)->event.number);
}

/* compare_xstate(serial, max) -> [(component, offset, recorded value), ...] of words that differ. */
static PyObject *rp_compare_xstate(PyObject *self, PyObject *args)
{
    struct replayer *p = rp_of(self);
    struct xstate_word words[32];
    unsigned serial, max, n = 0;
    struct rtask *t;
    PyObject *list;
    int rc;

    if (!PyArg_ParseTuple(args, "II", &serial, &max))
        return NULL;
    if (!(t = replayer_task(p, serial)))
        return PyErr_Format(PyExc_LookupError, "no replayed task %u", serial);
    if (max > sizeof words / sizeof *words)
        max = sizeof words / sizeof *words;
    if ((rc = xstate_compare(t->tid, p->event.out, p->event.out_len, max, words, &n)))
        return raise_errno(-rc);
    list = PyList_New(0);
    for (unsigned i = 0; list && i < n; i++) {
        PyObject *item = Py_BuildValue("IIK", words[i].component, words[i].offset,
                                       (unsigned long long)words[i].value);

        if (!item || PyList_Append(list, item))
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    return list;
}

static PyMethodDef rp_methods[] = {
    {"spawn", rp_spawn, METH_VARARGS, "spawn(agent path, cpu) -> tid, stopped at its exec event"},
    {"feed", rp_feed, METH_VARARGS, "feed(chunk bytes, first event)"},
    {"run", rp_run, METH_NOARGS, "run() -> (why, errno, event number)"},
    {"finish_call", rp_finish_call, METH_NOARGS, "finish_call() -> as run: outputs and result of a call"},
    {"next", rp_next, METH_NOARGS, "next(): the event is dealt with"},
    {"event", rp_event, METH_NOARGS, "event() -> (number, kind, flags, nr, task, result, out, extra)"},
    {"logged_regs", rp_logged_regs, METH_VARARGS, "logged_regs(serial)"},
    {"call_regs", rp_call_regs, METH_VARARGS, "call_regs(serial) -> registers at the call's entry"},
    {"begin_call", rp_begin_call, METH_VARARGS, "begin_call(serial, nr)"},
    {"divergence", rp_divergence, METH_NOARGS, "divergence() -> (what, index, expected, found, rip)"},
    {"add_task", rp_add, METH_VARARGS, "add_task(serial, tid)"},
    {"renew", rp_renew, METH_VARARGS, "renew(serial, tid): new id or address space"},
    {"drop_task", rp_drop, METH_VARARGS, "drop_task(serial)"},
    {"mem_fd", rp_mem_fd, METH_VARARGS, "mem_fd(serial)"},
    {"apply", rp_apply, METH_VARARGS, "apply(serial, output blob)"},
    {"set_output", rp_set_output, METH_VARARGS,
     "set_output(stdout fd, stderr fd, bytes of each to leave out); -1: silent"},
    {"echoed", rp_echoed, METH_NOARGS, "echoed() -> bytes of stdout, of stderr, left out ones included"},
    {"patience", rp_patience, METH_VARARGS, "patience(factor, ms) -> what it was: see struct watch"},
    {"interval_ms", rp_interval_ms, METH_NOARGS,
     "interval_ms() -> ms that the interval before the event at hand took at most when it was recorded"},
    {"lost", rp_lost, METH_NOARGS, "lost() -> ns of processor time after which the task was stopped, or 0"},
    {"settle", rp_settle, METH_VARARGS, "settle(serial): rewinds to a call that is made again"},
    {"advance", rp_advance, METH_VARARGS, "advance(serial) -> wait status"},
    {"run_for", rp_run_for, METH_VARARGS, "run_for(serial, ns) -> None, or wait status of another stop"},
    {"search", rp_search, METH_VARARGS,
     "search(serial, words, compare, limit) -> (end, wait status, hits)"},
    {"number", rp_number, METH_NOARGS, "number() of the event at hand"},
    {"hit_at_once", rp_hit_at_once, METH_VARARGS, "hit_at_once(serial, address)"},
    {"sample_word", rp_sample_word, METH_VARARGS, "sample_word(address) -> recorded value or None"},
    {"hw_break", rp_hw_break, METH_VARARGS, "hw_break(serial, address)"},
    {"compare_sample", rp_compare_sample, METH_VARARGS,
     "compare_sample(serial, max) -> (same, how many differ, extended state same, words)"},
    {"compare_xstate", rp_compare_xstate, METH_VARARGS,
     "compare_xstate(serial, max) -> [(component, offset, recorded value)]"},
    {"stop_at", rp_stop_at, METH_VARARGS, "stop_at(event number)"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot rp_slots[] = {
    {Py_tp_new, rp_new},
    {Py_tp_dealloc, rp_dealloc},
    {Py_tp_methods, rp_methods},
    {Py_tp_doc, "The replay loop. Belongs to one thread."},
    {0, NULL},
};

PyType_Spec replayer_spec = {
    .name = "relive._core.Replayer",
    .basicsize = sizeof(ReplayerObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = rp_slots,
};
