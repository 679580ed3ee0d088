/* Conditions and emulation by themselves, for tests, and the constants of live programs. */
#define _GNU_SOURCE
#include <errno.h>

#include "py_live.h"

int regs_from_sequence(PyObject *seq, uint64_t *ret); /* py_tracee.c */

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
