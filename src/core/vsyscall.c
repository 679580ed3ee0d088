/* Code that calls the vsyscall page: finds where it loads the address.
 *
 * The kernel answers such a call while it handles the page fault of the jump (arch/x86/entry/vsyscall/
 * vsyscall_64.c, emulate_vsyscall): no tracer sees it. Compilers make it of
 * `mov $0xffffffffff600[048]00,%reg` and `call *%reg`. */
#include <string.h>

#include "module.h"

/* REX.W (REX.WB for r8 to r15), opcode, ModRM of a register, a sign-extended immediate (Intel SDM
 * vol. 2, MOV, C7 /0). */
static int loads_entry(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at + 3, sizeof value);
    return (value & ~0xc00u) == 0xff600000u && (value & 0xc00u) != 0xc00u &&
           (at[0] == 0x48 || at[0] == 0x49) && at[1] == 0xc7 && (at[2] & 0xf8) == 0xc0;
}

/* find_vsyscalls(code) -> offsets of the immediates */
PyObject *py_find_vsyscalls(PyObject *self, PyObject *arg)
{
    PyObject *found = PyList_New(0);
    const uint8_t *data, *end, *at;
    Py_ssize_t size;
    char *bytes;

    (void)self;
    if (!found || PyBytes_AsStringAndSize(arg, &bytes, &size) < 0) {
        Py_XDECREF(found);
        return NULL;
    }
    data = (const uint8_t *)bytes;
    end = data + size;
    for (at = data; end - at >= 7 && (at = memchr(at, 0xc7, (size_t)(end - at) - 5)); at++) {
        PyObject *offset;

        if (at == data || !loads_entry(at - 1))
            continue;
        offset = PyLong_FromSsize_t(at + 2 - data);
        if (!offset || PyList_Append(found, offset) < 0) {
            Py_XDECREF(offset);
            Py_DECREF(found);
            return NULL;
        }
        Py_DECREF(offset);
    }
    return found;
}
