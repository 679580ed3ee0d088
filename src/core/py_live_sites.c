/* relive._core.Live's sites, and what concerns patched code. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>

#include "py_live.h"

PyObject *py_set_gadget(PyObject *self, PyObject *args)
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

int cond_of(PyObject *item, struct cond **ret)
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

PyObject *py_arm(PyObject *self, PyObject *args)
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

PyObject *py_counts(PyObject *self, PyObject *args)
{
    struct live *l = live_of(self);
    struct site *site;
    unsigned id;

    if (!l || !PyArg_ParseTuple(args, "I", &id) || !(site = site_of(l, id)))
        return NULL;
    return counts_of(site);
}

PyObject *py_disarm(PyObject *self, PyObject *args)
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

PyObject *py_drain(PyObject *self, PyObject *ignored)
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

PyObject *py_foreign(PyObject *self, PyObject *args)
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

PyObject *py_guard(PyObject *self, PyObject *args)
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

PyObject *py_unguard(PyObject *self, PyObject *args)
{
    struct live *l = live_of(self);
    unsigned entry;

    if (!l || !PyArg_ParseTuple(args, "I", &entry))
        return NULL;
    guardian_remove(&l->guardian, entry);
    Py_RETURN_NONE;
}

PyObject *py_guardian_pid(PyObject *self, PyObject *ignored)
{
    struct live *l = live_of(self);

    (void)ignored;
    return l ? PyLong_FromLong(l->guardian.pid) : NULL;
}
