/* relive._core: memory and extended state put back, for Python. */
#include "module.h"
#include "rewind.h"

#define XSTATE_MAX 16384

/* rewind_memory(tid, fd, copy fd, start, length) -> pages written */
static PyObject *py_rewind_memory(PyObject *self, PyObject *args)
{
    unsigned long long start, length;
    uint64_t pages = 0;
    struct mem to, copy;
    int tid, rc;

    (void)self;
    if (!PyArg_ParseTuple(args, "iiiKK", &tid, &to.fd, &copy.fd, &start, &length))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    rc = rewind_memory(tid, &to, &copy, start, start + length, &pages);
    Py_END_ALLOW_THREADS
    if (rc)
        return raise_errno(-rc);
    return PyLong_FromUnsignedLongLong(pages);
}

static PyObject *py_get_xstate(PyObject *self, PyObject *args)
{
    uint8_t area[XSTATE_MAX];
    size_t len;
    int tid, rc;

    (void)self;
    if (!PyArg_ParseTuple(args, "i", &tid))
        return NULL;
    if ((rc = xstate_get(tid, area, sizeof area, &len)))
        return raise_errno(-rc);
    return PyBytes_FromStringAndSize((const char *)area, (Py_ssize_t)len);
}

static PyObject *py_set_xstate(PyObject *self, PyObject *args)
{
    Py_buffer area;
    int tid, rc;

    (void)self;
    if (!PyArg_ParseTuple(args, "iy*", &tid, &area))
        return NULL;
    rc = xstate_set(tid, area.buf, (size_t)area.len);
    PyBuffer_Release(&area);
    if (rc)
        return raise_errno(-rc);
    Py_RETURN_NONE;
}

PyMethodDef rewind_methods[] = {
    {"rewind_memory", py_rewind_memory, METH_VARARGS,
     "rewind_memory(tid, fd, copy fd, start, length) -> pages written"},
    {"get_xstate", py_get_xstate, METH_VARARGS, "get_xstate(tid) -> as PTRACE_GETREGSET gives it"},
    {"set_xstate", py_set_xstate, METH_VARARGS, "set_xstate(tid, bytes)"},
    {NULL, NULL, 0, NULL},
};
