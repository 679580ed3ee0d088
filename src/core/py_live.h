/* relive._core.Live, shared by the files that bind it: py_live.c (tasks), py_live_sites.c. */
#ifndef PY_LIVE_H
#define PY_LIVE_H

#include "live.h"
#include "module.h"

typedef struct {
    PyObject_HEAD
    struct live *live;
    pid_t owner; /* the thread that is the tracer */
} Live;

/* The core's object; NULL with an exception set when it is closed or another thread's. */
struct live *live_of(PyObject *self);

/* NULL with ProcessLookupError set when there is no such address space. */
struct space *space_of(struct live *l, unsigned id);

/* (code, stack words) -> a condition; None -> NULL.  -1 with an exception set. */
int cond_of(PyObject *item, struct cond **ret);

/* Methods, of py_live_sites.c. */
PyObject *py_set_gadget(PyObject *self, PyObject *args);
PyObject *py_arm(PyObject *self, PyObject *args);
PyObject *py_disarm(PyObject *self, PyObject *args);
PyObject *py_counts(PyObject *self, PyObject *args);
PyObject *py_drain(PyObject *self, PyObject *args);
PyObject *py_foreign(PyObject *self, PyObject *args);
PyObject *py_guard(PyObject *self, PyObject *args);
PyObject *py_unguard(PyObject *self, PyObject *args);
PyObject *py_guardian_pid(PyObject *self, PyObject *args);

#endif
