/* relive._core: the mechanism that runs per stop. */
#include "module.h"

#include <errno.h>

#include "record.h"
#include "replay.h"

PyObject *raise_errno(int err)
{
    errno = err;
    return PyErr_SetFromErrno(PyExc_OSError);
}

int module_add_type(PyObject *module, PyType_Spec *spec, const char *name)
{
    PyObject *type = PyType_FromSpec(spec);
    int rc;

    if (!type)
        return -1;
    rc = PyModule_AddObjectRef(module, name, type);
    Py_DECREF(type);
    return rc;
}

static const struct {
    const char *name;
    long value;
} constants[] = {
    {"AGENT_TEXT", AGENT_TEXT},
    {"AGENT_VSYSCALLS", AGENT_VSYSCALLS},
    {"AGENT_DATA", AGENT_DATA},
    {"AGENT_SIZE", AGENT_SIZE},
    {"NREGS", EV_NREGS},
    {"WHY_NOTHING_LEFT", WHY_NOTHING_LEFT},
    {"WHY_ENTRY", WHY_ENTRY},
    {"WHY_EXIT", WHY_EXIT},
    {"WHY_SIGNAL", WHY_SIGNAL},
    {"WHY_EVENT", WHY_EVENT},
    {"WHY_GONE", WHY_GONE},
    {"WHY_REFUSED", WHY_REFUSED},
    {"WHY_STEPPED", WHY_STEPPED},
    {"WHY_WRITTEN", WHY_WRITTEN},
    {"WHY_OPENED", WHY_OPENED},
    {"WHY_NEW_TASK", WHY_NEW_TASK},
    {"WHY_INTERRUPTED", WHY_INTERRUPTED},
    {"WHY_LANDMARK", WHY_LANDMARK},
    {"WHY_ERROR", WHY_ERROR},
    {"SIGNAL_AT_BOUNDARY", SIGNAL_AT_BOUNDARY},
    {"SIGNAL_SYNC", SIGNAL_SYNC},
    {"SIGNAL_IN_USER", SIGNAL_IN_USER},
    {"RP_NEED_CHUNK", RP_NEED_CHUNK},
    {"RP_CALL", RP_CALL},
    {"RP_EVENT", RP_EVENT},
    {"RP_DIVERGED", RP_DIVERGED},
    {"RP_BAD_LOG", RP_BAD_LOG},
    {"RP_ERROR", RP_ERROR},
    {"RP_STOPPED", RP_STOPPED},
    {"DIV_REGS", DIV_REGS},
    {"DIV_CALL", DIV_CALL},
    {"DIV_INPUT", DIV_INPUT},
    {"DIV_STOP", DIV_STOP},
    {"DIV_GONE", DIV_GONE},
    {"DIV_MEMORY", DIV_MEMORY},
    {"DIV_INSTRUCTION", DIV_INSTRUCTION},
    {"DIV_NO_TASK", DIV_NO_TASK},
    {"DIV_LANDMARK", DIV_LANDMARK},
    {"DIV_LOST", DIV_LOST},
};

static int module_exec(PyObject *module)
{
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
        if (PyModule_AddIntConstant(module, constants[i].name, constants[i].value) < 0)
            return -1;
    if (PyModule_AddFunctions(module, ring_methods) < 0 ||
        PyModule_AddFunctions(module, rewind_methods) < 0)
        return -1;
    if (module_add_type(module, &recorder_spec, "Recorder") < 0)
        return -1;
    if (module_add_type(module, &replayer_spec, "Replayer") < 0)
        return -1;
    if (module_add_type(module, &live_spec, "Live") < 0)
        return -1;
    return live_add_constants(module);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "relive._core",
    .m_doc = "The mechanism that runs per stop: ptrace, the event log, recording and replaying.",
    .m_size = 0,
    .m_methods = tracee_methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&definition);
}
