/* The binding: what the files of the extension module share. */
#ifndef RELIVE_MODULE_H
#define RELIVE_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Raises OSError with the number (ProcessLookupError for ESRCH, ...). */
PyObject *raise_errno(int err);
int module_add_type(PyObject *module, PyType_Spec *spec, const char *name);

extern PyType_Spec recorder_spec, replayer_spec, live_spec;
extern PyMethodDef tracee_methods[], ring_methods[], rewind_methods[];
/* vsyscall.c */
PyObject *py_find_vsyscalls(PyObject *self, PyObject *arg);
int live_add_constants(PyObject *module); /* and functions; 0 or -1 */

#endif
