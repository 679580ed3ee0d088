/* Reading the ring that in-process sites append to: the other side of
 * src/relive/conditions/inprocess/ring.py, which describes its layout. */
#include <stdint.h>
#include <string.h>

#include "module.h"

/* One record: its words, or 0 when it is not complete yet, or -1 when its site is unknown. */
static int64_t record_words(const volatile uint64_t *ring, uint64_t mask, uint64_t position,
                            const uint32_t *sizes, size_t n_sizes)
{
    uint64_t at = position / 8 & mask, site;

    if (__atomic_load_n(&ring[at], __ATOMIC_ACQUIRE) != position + 1)
        return 0;
    site = ring[(at + 1) & mask];
    return site < n_sizes && sizes[site] ? (int64_t)sizes[site] : -1;
}

/* ring_take(memory, offset, size, position, sizes, limit) -> (bytes, position): the complete
 * records from `position` on, one after the other, of `limit` bytes at most. */
static PyObject *py_ring_take(PyObject *self, PyObject *args)
{
    Py_buffer memory, sizes;
    Py_ssize_t offset, size, limit;
    unsigned long long position, end;
    const volatile uint64_t *ring;
    const uint32_t *lengths;
    uint64_t mask;
    int64_t words = 0;
    PyObject *out = NULL;
    char *to;

    (void)self;
    if (!PyArg_ParseTuple(args, "y*nnKy*n", &memory, &offset, &size, &position, &sizes, &limit))
        return NULL;
    if (size < 8 || (size & (size - 1)) || offset < 0 || offset % 8 || position % 8 ||
        offset > memory.len || size > memory.len - offset) {
        PyErr_SetString(PyExc_ValueError, "no ring there");
        goto out;
    }
    ring = (const volatile uint64_t *)((const char *)memory.buf + offset);
    lengths = sizes.buf;
    mask = (uint64_t)size / 8 - 1;
    for (end = position; end - position < (uint64_t)limit; end += 8 * (uint64_t)words) {
        words = record_words(ring, mask, end, lengths, (size_t)sizes.len / sizeof *lengths);
        if (words <= 0 || end - position + 8 * (uint64_t)words > (uint64_t)size)
            break;
    }
    if (words < 0) {
        PyErr_SetString(PyExc_ValueError, "a record of a site that is not known");
        goto out;
    }
    out = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(end - position));
    if (!out)
        goto out;
    to = PyBytes_AsString(out);
    for (uint64_t done = 0, n; done < end - position; done += n) {
        uint64_t at = (position + done) & ((uint64_t)size - 1);

        n = (uint64_t)size - at;
        if (n > end - position - done)
            n = end - position - done;
        memcpy(to + done, (const char *)memory.buf + offset + at, n);
    }
    out = Py_BuildValue("NK", out, end);
out:
    PyBuffer_Release(&memory);
    PyBuffer_Release(&sizes);
    return out;
}

PyMethodDef ring_methods[] = {
    {"ring_take", py_ring_take, METH_VARARGS,
     "ring_take(memory, offset, size, position, sizes, limit) -> (records, position)"},
    {NULL, NULL, 0, NULL},
};
