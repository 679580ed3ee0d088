/* Primitives on one stopped task, for the Python handlers. */
#include <cpuid.h>
#include <errno.h>
#include <unistd.h>
#include <stdio.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "module.h"
#include "tracee.h"

static PyObject *regs_to_tuple(const uint64_t *r)
{
    PyObject *out = PyTuple_New(EV_NREGS);

    for (Py_ssize_t i = 0; out && i < EV_NREGS; i++) {
        PyObject *v = PyLong_FromUnsignedLongLong(r[i]);

        if (!v || PyTuple_SetItem(out, i, v) < 0)
            Py_CLEAR(out);
    }
    return out;
}

static PyObject *py_getregs(PyObject *self, PyObject *args)
{
    struct regs r;
    int tid, rc;

    (void)self;
    if (!PyArg_ParseTuple(args, "i", &tid))
        return NULL;
    if ((rc = regs_get(tid, &r)))
        return raise_errno(-rc);
    return regs_to_tuple(r.r);
}

int regs_from_sequence(PyObject *seq, uint64_t *ret)
{
    if (PySequence_Size(seq) != EV_NREGS) {
        PyErr_Format(PyExc_ValueError, "a register file has %d registers", EV_NREGS);
        return -1;
    }
    for (Py_ssize_t i = 0; i < EV_NREGS; i++) {
        PyObject *v = PySequence_GetItem(seq, i);

        if (!v)
            return -1;
        ret[i] = PyLong_AsUnsignedLongLongMask(v);
        Py_DECREF(v);
        if (ret[i] == ~0ull && PyErr_Occurred())
            return -1;
    }
    return 0;
}

static PyObject *py_setregs(PyObject *self, PyObject *args)
{
    struct regs r;
    PyObject *seq;
    int tid, rc;

    (void)self;
    if (!PyArg_ParseTuple(args, "iO", &tid, &seq) || regs_from_sequence(seq, r.r))
        return NULL;
    if ((rc = regs_set(tid, &r)))
        return raise_errno(-rc);
    Py_RETURN_NONE;
}

static PyObject *py_remote(PyObject *self, PyObject *args)
{
    unsigned long long a[6] = {0};
    uint64_t b[6];
    unsigned long nr;
    int64_t result;
    int tid, rc;

    (void)self;
    if (!PyArg_ParseTuple(args, "ik|KKKKKK", &tid, &nr, &a[0], &a[1], &a[2], &a[3], &a[4], &a[5]))
        return NULL;
    for (int i = 0; i < 6; i++)
        b[i] = a[i];
    Py_BEGIN_ALLOW_THREADS
    rc = remote_call(tid, nr, b, 0, NULL, &result);
    Py_END_ALLOW_THREADS
    if (rc)
        return raise_errno(-rc);
    return PyLong_FromLongLong(result);
}

static PyObject *py_resume(PyObject *self, PyObject *args)
{
    int tid, request, sig = 0, rc;

    (void)self;
    if (!PyArg_ParseTuple(args, "ii|i", &tid, &request, &sig))
        return NULL;
    if ((rc = task_resume(tid, request, sig)))
        return raise_errno(-rc);
    Py_RETURN_NONE;
}

static PyObject *py_wait(PyObject *self, PyObject *args)
{
    int tid, flags = 0, rc, status = 0;

    (void)self;
    if (!PyArg_ParseTuple(args, "i|i", &tid, &flags))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    rc = wait_for(tid, flags, &status);
    Py_END_ALLOW_THREADS
    if (rc < 0)
        return raise_errno(-rc);
    return Py_BuildValue("ii", rc, status);
}

static PyObject *py_event_message(PyObject *self, PyObject *args)
{
    unsigned long message = 0;
    int tid;

    (void)self;
    if (!PyArg_ParseTuple(args, "i", &tid))
        return NULL;
    if (ptrace(PTRACE_GETEVENTMSG, tid, NULL, &message) < 0)
        return raise_errno(errno);
    return PyLong_FromUnsignedLong(message);
}

static PyObject *py_siginfo(PyObject *self, PyObject *args)
{
    siginfo_t info;
    int tid;

    (void)self;
    if (!PyArg_ParseTuple(args, "i", &tid))
        return NULL;
    if (ptrace(PTRACE_GETSIGINFO, tid, NULL, &info) < 0)
        return raise_errno(errno);
    return PyBytes_FromStringAndSize((const char *)&info, sizeof info);
}

static PyObject *py_peek(PyObject *self, PyObject *args)
{
    unsigned long long addr, value;
    int tid;

    (void)self;
    if (!PyArg_ParseTuple(args, "iK", &tid, &addr))
        return NULL;
    errno = 0;
    value = (unsigned long long)ptrace(PTRACE_PEEKTEXT, tid, (void *)addr, NULL);
    if (errno)
        return raise_errno(errno);
    return PyLong_FromUnsignedLongLong(value);
}

static PyObject *py_poke(PyObject *self, PyObject *args)
{
    unsigned long long addr, value;
    int tid;

    (void)self;
    if (!PyArg_ParseTuple(args, "iKK", &tid, &addr, &value))
        return NULL;
    if (ptrace(PTRACE_POKETEXT, tid, (void *)addr, (void *)value) < 0)
        return raise_errno(errno);
    Py_RETURN_NONE;
}

static PyObject *py_digest(PyObject *self, PyObject *args)
{
    unsigned long long seed = 0;
    Py_buffer data;
    uint64_t d;

    (void)self;
    if (!PyArg_ParseTuple(args, "y*|K", &data, &seed))
        return NULL;
    d = digest64(data.buf, (size_t)data.len, seed);
    PyBuffer_Release(&data);
    return PyLong_FromUnsignedLongLong(d);
}

/* digest_memory(tid, fd, start, length, scan=True): of the pages in a private mapping that are no
 * longer the file's (or, in anonymous memory, were touched). */
static PyObject *py_digest_memory(PyObject *self, PyObject *args)
{
    unsigned long long start, length;
    int tid, rc, scan = 1;
    struct mem m;
    uint64_t d;

    (void)self;
    if (!PyArg_ParseTuple(args, "iiKK|p", &tid, &m.fd, &start, &length, &scan))
        return NULL;
    rc = digest_own_pages(tid, &m, start, start + length, scan, &d);
    if (rc)
        return raise_errno(-rc);
    return PyLong_FromUnsignedLongLong(d);
}

/* digest_contents(fd, start, length): of all pages, whoever's they are. */
static PyObject *py_digest_contents(PyObject *self, PyObject *args)
{
    unsigned long long start, length;
    struct mem m;

    (void)self;
    if (!PyArg_ParseTuple(args, "iKK", &m.fd, &start, &length))
        return NULL;
    return PyLong_FromUnsignedLongLong(digest_all_pages(&m, start, start + length));
}

/* xsavec_layout(mask) -> (bytes of the compacted area, components supported): Intel
 * SDM vol. 1, 13.4.3 and CPUID leaf 0DH. */
static PyObject *py_xsavec_layout(PyObject *self, PyObject *args)
{
    unsigned mask, a, b, c, d, supported, size = 576;

    (void)self;
    if (!PyArg_ParseTuple(args, "I", &mask))
        return NULL;
    __cpuid_count(0xd, 0, supported, b, c, d);
    supported &= mask;
    for (unsigned i = 2; i < 32; i++) {
        if (!(supported & (1u << i)))
            continue;
        __cpuid_count(0xd, i, a, b, c, d);
        if (c & 2)
            size = (size + 63) & ~63u;
        size += a;
    }
    return Py_BuildValue("II", (size + 7) & ~7u, supported);
}

PyMethodDef tracee_methods[] = {
    {"getregs", py_getregs, METH_VARARGS, "getregs(tid) -> 27 registers in user_regs_struct order"},
    {"setregs", py_setregs, METH_VARARGS, "setregs(tid, registers)"},
    {"remote", py_remote, METH_VARARGS,
     "remote(tid, nr, *args) -> result of a system call made by the task (not at a call's entry)"},
    {"resume", py_resume, METH_VARARGS, "resume(tid, ptrace request, signal=0)"},
    {"wait", py_wait, METH_VARARGS, "wait(tid, flags=0) -> (tid, status), __WALL implied"},
    {"event_message", py_event_message, METH_VARARGS, "event_message(tid) -> PTRACE_GETEVENTMSG"},
    {"siginfo", py_siginfo, METH_VARARGS, "siginfo(tid) -> bytes of siginfo_t"},
    {"peek", py_peek, METH_VARARGS, "peek(tid, address) -> word, also of unreadable pages"},
    {"poke", py_poke, METH_VARARGS, "poke(tid, address, word), also in read-only pages"},
    {"xsavec_layout", py_xsavec_layout, METH_VARARGS,
     "xsavec_layout(mask) -> (bytes, components supported)"},
    {"find_vsyscalls", py_find_vsyscalls, METH_O,
     "find_vsyscalls(code) -> offsets where the immediate operand is a vsyscall's address"},
    {"digest64", py_digest, METH_VARARGS, "digest64(bytes, seed=0)"},
    {"digest_contents", py_digest_contents, METH_VARARGS, "digest_contents(fd, start, length)"},
    {"digest_memory", py_digest_memory, METH_VARARGS, "digest_memory(tid, fd, start, length, scan=True)"},
    {NULL, NULL, 0, NULL},
};
