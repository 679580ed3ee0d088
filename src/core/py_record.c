/* relive._core.Recorder: the recording loop for Python. */
#include <errno.h>
#include <string.h>
#include <sys/ptrace.h>

#include "module.h"
#include "record.h"

int regs_from_sequence(PyObject *seq, uint64_t *ret);

typedef struct {
    PyObject_HEAD
    struct recorder rec;
} RecorderObject;

static struct recorder *rec_of(PyObject *self)
{
    return &((RecorderObject *)self)->rec;
}

static PyObject *rec_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *self = alloc(type, 0);

    (void)args;
    (void)kwargs;
    if (self && recorder_init(rec_of(self))) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return self;
}

static void rec_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

    recorder_free(rec_of(self));
    release(self);
    Py_DECREF(type);
}

static struct task *need_task(PyObject *self, unsigned serial)
{
    struct task *t = recorder_task(rec_of(self), serial);

    if (!t)
        PyErr_Format(PyExc_LookupError, "no recorded task %u", serial);
    return t;
}

/* A NULL-terminated vector from a sequence of bytes objects. */
static char **string_vector(PyObject *seq)
{
    Py_ssize_t n = PySequence_Size(seq);
    char **v;

    if (n < 0)
        return NULL;
    v = PyMem_Calloc((size_t)n + 1, sizeof *v);
    if (!v)
        return (char **)PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *item = PySequence_GetItem(seq, i);

        /* the sequence keeps the bytes alive */
        v[i] = item ? PyBytes_AsString(item) : NULL;
        Py_XDECREF(item);
        if (!v[i]) {
            PyMem_Free(v);
            return NULL;
        }
    }
    return v;
}

static PyObject *rec_spawn(PyObject *self, PyObject *args)
{
    PyObject *argv_seq, *env_seq;
    const char *path;
    char **argv, **envp = NULL;
    int cpu, tid = 0, rc = 0;

    (void)self;
    if (!PyArg_ParseTuple(args, "yOOi", &path, &argv_seq, &env_seq, &cpu))
        return NULL;
    if (!(argv = string_vector(argv_seq)))
        return NULL;
    envp = string_vector(env_seq);
    if (envp) {
        Py_BEGIN_ALLOW_THREADS
        rc = recorder_spawn(path, argv, envp, cpu, &tid);
        Py_END_ALLOW_THREADS
    }
    PyMem_Free(argv);
    PyMem_Free(envp);
    if (!envp)
        return NULL;
    if (rc)
        return raise_errno(-rc);
    return PyLong_FromLong(tid);
}

static PyObject *rec_run(PyObject *self, PyObject *ignored)
{
    struct reason_info info;

    (void)ignored;
    Py_BEGIN_ALLOW_THREADS
    recorder_run(rec_of(self), &info);
    Py_END_ALLOW_THREADS
    return Py_BuildValue("iILL", (int)info.why, info.serial, (long long)info.a, (long long)info.b);
}

static PyObject *rec_add(PyObject *self, PyObject *args)
{
    unsigned serial, mm;
    int tid, tgid, rc;

    if (!PyArg_ParseTuple(args, "IiiI", &serial, &tid, &tgid, &mm))
        return NULL;
    if ((rc = recorder_add(rec_of(self), serial, tid, tgid, mm)))
        return raise_errno(-rc);
    Py_RETURN_NONE;
}

static PyObject *rec_drop(PyObject *self, PyObject *args)
{
    unsigned serial;
    struct task *t;

    if (!PyArg_ParseTuple(args, "I", &serial) || !(t = need_task(self, serial)))
        return NULL;
    recorder_drop(rec_of(self), t);
    Py_RETURN_NONE;
}

static PyObject *rec_set_mm(PyObject *self, PyObject *args)
{
    unsigned serial, mm;
    struct task *t;
    int rc;

    if (!PyArg_ParseTuple(args, "II", &serial, &mm) || !(t = need_task(self, serial)))
        return NULL;
    if ((rc = recorder_set_mm(rec_of(self), t, mm)))
        return raise_errno(-rc);
    Py_RETURN_NONE;
}

static PyObject *rec_set_shares(PyObject *self, PyObject *args)
{
    unsigned serial;
    struct task *t;
    int shares;

    if (!PyArg_ParseTuple(args, "Ip", &serial, &shares) || !(t = need_task(self, serial)))
        return NULL;
    t->mm->shares = shares;
    Py_RETURN_NONE;
}

static PyObject *rec_set_tid(PyObject *self, PyObject *args)
{
    unsigned serial;
    struct task *t;
    int tid, tgid;

    if (!PyArg_ParseTuple(args, "Iii", &serial, &tid, &tgid) || !(t = need_task(self, serial)))
        return NULL;
    t->tid = tid;
    t->tgid = tgid;
    Py_RETURN_NONE;
}

static PyObject *rec_flag(PyObject *self, PyObject *args)
{
    unsigned serial;
    struct task *t;
    const char *name;
    int on;

    if (!PyArg_ParseTuple(args, "Isp", &serial, &name, &on) || !(t = need_task(self, serial)))
        return NULL;
    if (!strcmp(name, "may_sleep"))
        t->may_sleep = on;
    else if (!strcmp(name, "settles"))
        t->settles = on;
    else if (!strcmp(name, "sleeps_deep"))
        t->sleeps_deep = t->may_sleep = on;
    else if (!strcmp(name, "dying"))
        t->dying = on;
    else if (!strcmp(name, "no_remote"))
        t->no_remote = on;
    else
        return PyErr_Format(PyExc_ValueError, "no flag %s", name);
    Py_RETURN_NONE;
}

/* take_stranger(tid) -> wait status or None. */
static PyObject *rec_take_stranger(PyObject *self, PyObject *args)
{
    struct recorder *r = rec_of(self);
    int tid, status;

    if (!PyArg_ParseTuple(args, "i", &tid))
        return NULL;
    for (unsigned i = 0; i < r->n_strangers; i++) {
        if (r->strangers[i].tid != tid)
            continue;
        status = r->strangers[i].status;
        r->strangers[i] = r->strangers[--r->n_strangers];
        return PyLong_FromLong(status);
    }
    Py_RETURN_NONE;
}

/* A stop that was collected before the task was known. */
static PyObject *rec_set_status(PyObject *self, PyObject *args)
{
    unsigned serial;
    struct task *t;
    int status;

    if (!PyArg_ParseTuple(args, "Ii", &serial, &status) || !(t = need_task(self, serial)))
        return NULL;
    t->status = status;
    t->has_status = true;
    t->state = RUN_BLOCKED;
    Py_RETURN_NONE;
}

static PyObject *rec_set_blocked(PyObject *self, PyObject *args)
{
    unsigned serial;
    struct task *t;

    if (!PyArg_ParseTuple(args, "I", &serial) || !(t = need_task(self, serial)))
        return NULL;
    t->state = RUN_BLOCKED;
    Py_RETURN_NONE;
}

static PyObject *rec_resume_with(PyObject *self, PyObject *args)
{
    unsigned serial;
    struct task *t;
    int sig, stepping = 0;

    if (!PyArg_ParseTuple(args, "Ii|p", &serial, &sig, &stepping) || !(t = need_task(self, serial)))
        return NULL;
    t->sig = sig;
    t->request = stepping ? PTRACE_SINGLESTEP : PTRACE_SYSCALL;
    t->stepping = stepping;
    Py_RETURN_NONE;
}

static PyObject *rec_stash(PyObject *self, PyObject *args)
{
    unsigned serial;
    struct task *t;
    int sig, rc;

    if (!PyArg_ParseTuple(args, "Ii", &serial, &sig) || !(t = need_task(self, serial)))
        return NULL;
    if ((rc = stash_add(&t->stash, t->tid, sig)))
        return raise_errno(-rc);
    Py_RETURN_NONE;
}

/* landmark(serial, signal) -> True: logged; False: something else comes first. */
static PyObject *rec_landmark(PyObject *self, PyObject *args)
{
    unsigned serial;
    struct task *t;
    int sig, rc;

    if (!PyArg_ParseTuple(args, "Ii", &serial, &sig) || !(t = need_task(self, serial)))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    rc = log_landmark(rec_of(self), t, sig, false);
    Py_END_ALLOW_THREADS
    if (rc < 0)
        return raise_errno(-rc);
    return PyBool_FromLong(rc == 0);
}

static PyObject *rec_skip(PyObject *self, PyObject *args)
{
    unsigned serial;
    long long result;
    struct task *t;
    int rc;

    if (!PyArg_ParseTuple(args, "IL", &serial, &result) || !(t = need_task(self, serial)))
        return NULL;
    if ((rc = call_skip(t, result)))
        return raise_errno(-rc);
    Py_RETURN_NONE;
}

static PyObject *rec_set_result(PyObject *self, PyObject *args)
{
    unsigned serial;
    long long result;
    struct task *t;
    int rc;

    if (!PyArg_ParseTuple(args, "IL", &serial, &result) || !(t = need_task(self, serial)))
        return NULL;
    t->result = result;
    if ((rc = reg_poke(t->tid, R_RAX, (uint64_t)result)))
        return raise_errno(-rc);
    Py_RETURN_NONE;
}

/* set_args(serial, args): the kernel sees these; the program gets its own back. */
static PyObject *rec_set_args(PyObject *self, PyObject *args)
{
    unsigned long long a[6];
    unsigned serial;
    struct task *t;
    struct regs r;
    int rc;

    if (!PyArg_ParseTuple(args, "I(KKKKKK)", &serial, &a[0], &a[1], &a[2], &a[3], &a[4], &a[5]) ||
        !(t = need_task(self, serial)))
        return NULL;
    r = t->regs;
    r.r[R_RDI] = a[0];
    r.r[R_RSI] = a[1];
    r.r[R_RDX] = a[2];
    r.r[R_R10] = a[3];
    r.r[R_R8] = a[4];
    r.r[R_R9] = a[5];
    if ((rc = regs_set(t->tid, &r)))
        return raise_errno(-rc);
    t->args_changed = true;
    Py_RETURN_NONE;
}

static PyObject *rec_call_regs(PyObject *self, PyObject *args)
{
    unsigned serial;
    struct task *t;
    PyObject *out;

    if (!PyArg_ParseTuple(args, "I", &serial) || !(t = need_task(self, serial)))
        return NULL;
    out = PyTuple_New(EV_NREGS);
    for (Py_ssize_t i = 0; out && i < EV_NREGS; i++)
        PyTuple_SetItem(out, i, PyLong_FromUnsignedLongLong(t->regs.r[i]));
    return out;
}

static PyObject *rec_attach(PyObject *self, PyObject *args)
{
    unsigned serial;
    struct task *t;
    Py_buffer data;
    int rc;

    if (!PyArg_ParseTuple(args, "Iy*", &serial, &data))
        return NULL;
    if (!(t = need_task(self, serial))) {
        PyBuffer_Release(&data);
        return NULL;
    }
    buf_clear(&t->extra);
    rc = buf_put(&t->extra, data.buf, (size_t)data.len);
    PyBuffer_Release(&data);
    if (rc)
        return raise_errno(-rc);
    Py_RETURN_NONE;
}

/* Appends memory as it is now to an output blob; unmapped parts are left out. */
static int put_region(struct buf *b, const struct mem *m, uint64_t addr, uint64_t len)
{
    size_t at = b->len, got;
    uint32_t n;
    int rc;

    if (!len)
        return 0;
    if (len > 1ull << 31)
        return -EINVAL;
    if ((rc = buf_put_u64(b, addr)) || (rc = buf_put_u32(b, 0)) || (rc = buf_reserve(b, len)))
        return rc;
    got = mem_read_some(m, addr, b->data + b->len, len);
    if (!got) {
        b->len = at;
        return 0;
    }
    n = (uint32_t)got;
    memcpy(b->data + at + 8, &n, 4);
    b->len += got;
    return 0;
}

static PyObject *rec_out(PyObject *self, PyObject *args)
{
    unsigned long long addr, len;
    unsigned serial;
    struct task *t;
    int rc;

    if (!PyArg_ParseTuple(args, "IKK", &serial, &addr, &len) || !(t = need_task(self, serial)))
        return NULL;
    if ((rc = put_region(&t->out, &t->mem, addr, len)))
        return raise_errno(-rc);
    Py_RETURN_NONE;
}

static PyObject *rec_log_entry(PyObject *self, PyObject *args)
{
    unsigned serial;
    struct task *t;
    int rc;

    if (!PyArg_ParseTuple(args, "I", &serial) || !(t = need_task(self, serial)))
        return NULL;
    if ((rc = call_log_entry(rec_of(self), t)))
        return raise_errno(-rc);
    Py_RETURN_NONE;
}

static PyObject *rec_call_over(PyObject *self, PyObject *args)
{
    unsigned serial;
    struct task *t;

    if (!PyArg_ParseTuple(args, "I", &serial) || !(t = need_task(self, serial)))
        return NULL;
    t->in_call = t->exit_pending = t->entry_logged = t->may_sleep = false;
    t->state = RUN_STOPPED;
    Py_RETURN_NONE;
}

static PyObject *rec_finish_call(PyObject *self, PyObject *args)
{
    struct reason_info ignored = {0};
    unsigned serial;
    struct task *t;
    int rc;

    if (!PyArg_ParseTuple(args, "I", &serial) || !(t = need_task(self, serial)))
        return NULL;
    if ((rc = call_finish(rec_of(self), t, &ignored)))
        return raise_errno(-rc);
    Py_RETURN_NONE;
}

/* emit(kind, flags, nr, serial, regs|None, result|None, regions, extra|None): regions
 * are (address, length) of the task's memory as it is now, or (address, bytes). */
static PyObject *rec_emit(PyObject *self, PyObject *args)
{
    static struct buf out, extra;
    struct event_out e = {0};
    PyObject *regs_seq, *result, *regions;
    const char *extra_data;
    Py_ssize_t extra_len;
    struct ev_base none = {0};
    uint64_t regs[EV_NREGS];
    unsigned kind, flags, nr, serial;
    struct task *t;
    int rc = 0;

    if (!PyArg_ParseTuple(args, "IIIIOOOz#", &kind, &flags, &nr, &serial, &regs_seq, &result,
                          &regions, &extra_data, &extra_len))
        return NULL;
    t = recorder_task(rec_of(self), serial);
    e.kind = (enum ev_kind)kind;
    e.flags = (uint8_t)flags;
    e.nr = (uint16_t)nr;
    e.task = serial;
    e.base = t ? &t->base : &none;
    if (regs_seq != Py_None) {
        if (regs_from_sequence(regs_seq, regs))
            return NULL;
        e.regs = regs;
    }
    if (result != Py_None) {
        e.has_result = true;
        e.result = PyLong_AsLongLong(result);
        if (PyErr_Occurred())
            return NULL;
    }
    buf_clear(&out);
    buf_clear(&extra);
    for (Py_ssize_t i = 0; i < PySequence_Size(regions) && !rc; i++) {
        PyObject *item = PySequence_GetItem(regions, i);
        PyObject *what;
        unsigned long long addr;

        if (!item || !PyArg_ParseTuple(item, "KO", &addr, &what)) {
            Py_XDECREF(item);
            return NULL;
        }
        if (PyBytes_Check(what)) {
            size_t n = (size_t)PyBytes_Size(what);

            rc = buf_put_u64(&out, addr);
            rc = rc ? rc : buf_put_u32(&out, (uint32_t)n);
            rc = rc ? rc : buf_put(&out, PyBytes_AsString(what), n);
        } else {
            unsigned long long n = PyLong_AsUnsignedLongLong(what);

            rc = PyErr_Occurred() ? -EINVAL : t ? put_region(&out, &t->mem, addr, n) : -ESRCH;
        }
        Py_DECREF(item);
    }
    if (!rc && extra_data)
        rc = buf_put(&extra, extra_data, (size_t)extra_len);
    e.out = &out;
    e.extra = &extra;
    if (!rc) {
        Py_BEGIN_ALLOW_THREADS
        rc = evlog_put(&rec_of(self)->log, &e);
        Py_END_ALLOW_THREADS
    }
    if (rc)
        return PyErr_Occurred() ? NULL : raise_errno(-rc);
    Py_RETURN_NONE;
}

static PyObject *rec_read(PyObject *self, PyObject *args)
{
    unsigned long long addr;
    unsigned serial;
    Py_ssize_t len;
    struct task *t;
    PyObject *out;
    int rc;

    if (!PyArg_ParseTuple(args, "IKn", &serial, &addr, &len) || !(t = need_task(self, serial)))
        return NULL;
    if (!(out = PyBytes_FromStringAndSize(NULL, len)))
        return NULL;
    if ((rc = mem_read(&t->mem, addr, PyBytes_AsString(out), (size_t)len))) {
        Py_DECREF(out);
        return raise_errno(-rc);
    }
    return out;
}

static PyObject *rec_write(PyObject *self, PyObject *args)
{
    unsigned long long addr;
    unsigned serial;
    Py_buffer data;
    struct task *t;
    int rc = 0;

    if (!PyArg_ParseTuple(args, "IKy*", &serial, &addr, &data))
        return NULL;
    if ((t = need_task(self, serial)))
        rc = mem_write(&t->mem, addr, data.buf, (size_t)data.len);
    PyBuffer_Release(&data);
    if (!t)
        return NULL;
    if (rc)
        return raise_errno(-rc);
    Py_RETURN_NONE;
}

static PyObject *rec_mem_fd(PyObject *self, PyObject *args)
{
    unsigned serial;
    struct task *t;

    if (!PyArg_ParseTuple(args, "I", &serial) || !(t = need_task(self, serial)))
        return NULL;
    return PyLong_FromLong(t->mem.fd);
}

static PyObject *rec_scratch(PyObject *self, PyObject *args)
{
    unsigned serial;
    struct task *t;

    if (!PyArg_ParseTuple(args, "I", &serial) || !(t = need_task(self, serial)))
        return NULL;
    return Py_BuildValue("KK", t->scratch, t->scratch_size);
}

static PyObject *rec_remote(PyObject *self, PyObject *args)
{
    unsigned long long a[6] = {0}, insn = AGENT_SYSCALL;
    unsigned long nr;
    uint64_t b[6];
    unsigned serial;
    struct task *t;
    int64_t result;
    int rc;

    if (!PyArg_ParseTuple(args, "IkKKKKKK|K", &serial, &nr, &a[0], &a[1], &a[2], &a[3], &a[4], &a[5],
                          &insn) ||
        !(t = need_task(self, serial)))
        return NULL;
    for (int i = 0; i < 6; i++)
        b[i] = a[i];
    t->mm->changes.ranges.valid = false;
    Py_BEGIN_ALLOW_THREADS
    rc = remote_call_at(t->tid, insn, nr, b, 0, &t->stash, &result);
    Py_END_ALLOW_THREADS
    if (rc)
        return raise_errno(-rc);
    return PyLong_FromLongLong(result);
}

static PyObject *rec_add_echo(PyObject *self, PyObject *args)
{
    struct recorder *r = rec_of(self);
    int fd, bit;

    if (!PyArg_ParseTuple(args, "ii", &fd, &bit))
        return NULL;
    if (r->n_echo == sizeof r->echo_fds / sizeof *r->echo_fds)
        Py_RETURN_FALSE;
    r->echo_fds[r->n_echo] = fd;
    r->echo_bits[r->n_echo++] = (uint8_t)bit;
    Py_RETURN_TRUE;
}

static PyObject *rec_is_echo(PyObject *self, PyObject *args);

static PyObject *rec_watch_writes(PyObject *self, PyObject *args)
{
    int on;

    if (!PyArg_ParseTuple(args, "p", &on))
        return NULL;
    rec_of(self)->watch_writes = on;
    Py_RETURN_NONE;
}

static PyObject *rec_set_slice(PyObject *self, PyObject *args)
{
    unsigned long long ns;

    if (!PyArg_ParseTuple(args, "K", &ns))
        return NULL;
    rec_of(self)->slice_ns = ns;
    Py_RETURN_NONE;
}

static PyObject *rec_chaos(PyObject *self, PyObject *args)
{
    unsigned long long seed;

    if (!PyArg_ParseTuple(args, "K", &seed))
        return NULL;
    chaos_start(rec_of(self), seed);
    Py_RETURN_NONE;
}

/* verify(level): run() returns after every landmark of a preemption (1), after every call, too (2). */
static PyObject *rec_verify(PyObject *self, PyObject *args)
{
    unsigned level;

    if (!PyArg_ParseTuple(args, "I", &level))
        return NULL;
    rec_of(self)->verify = (enum verify)level;
    Py_RETURN_NONE;
}

static PyObject *rec_next_chunk(PyObject *self, PyObject *args)
{
    struct ev_chunk chunk;
    PyObject *bytes;
    int timeout, rc;

    if (!PyArg_ParseTuple(args, "i", &timeout))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    rc = evlog_take(&rec_of(self)->log, timeout, &chunk);
    Py_END_ALLOW_THREADS
    if (rc < 0)
        Py_RETURN_NONE;
    if (!rc)
        return Py_BuildValue("y#I", "", (Py_ssize_t)0, 0u);
    bytes = Py_BuildValue("y#I", (const char *)chunk.bytes.data, (Py_ssize_t)chunk.bytes.len,
                          chunk.n_events);
    buf_free(&chunk.bytes);
    return bytes;
}

static PyObject *rec_close_log(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    evlog_close(&rec_of(self)->log);
    Py_RETURN_NONE;
}

static PyObject *rec_discard_log(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    evlog_discard(&rec_of(self)->log);
    Py_RETURN_NONE;
}

static PyObject *rec_stats(PyObject *self, PyObject *ignored)
{
    const struct recorder *r = rec_of(self);

    (void)ignored;
    return Py_BuildValue("{sKsKsKsKsK}", "events", (unsigned long long)r->log.n_events, "stops",
                         (unsigned long long)r->n_stops, "switches",
                         (unsigned long long)r->n_switches, "settled",
                         (unsigned long long)r->n_settled, "steps",
                         (unsigned long long)r->n_steps);
}

static PyMethodDef rec_methods[] = {
    {"spawn", rec_spawn, METH_VARARGS, "spawn(path, argv, env, cpu) -> tid, stopped at its exec event"},
    {"run", rec_run, METH_NOARGS, "run() -> (why, serial, a, b)"},
    {"add_task", rec_add, METH_VARARGS, "add_task(serial, tid, tgid, mm)"},
    {"drop_task", rec_drop, METH_VARARGS, "drop_task(serial)"},
    {"set_mm", rec_set_mm, METH_VARARGS, "set_mm(serial, mm)"},
    {"set_shares", rec_set_shares, METH_VARARGS, "set_shares(serial, on)"},
    {"set_tid", rec_set_tid, METH_VARARGS, "set_tid(serial, tid, tgid)"},
    {"flag", rec_flag, METH_VARARGS, "flag(serial, name, on)"},
    {"take_stranger", rec_take_stranger, METH_VARARGS, "take_stranger(tid) -> wait status or None"},
    {"set_status", rec_set_status, METH_VARARGS, "set_status(serial, wait status)"},
    {"set_blocked", rec_set_blocked, METH_VARARGS, "set_blocked(serial): its stop is to come"},
    {"resume_with", rec_resume_with, METH_VARARGS, "resume_with(serial, signal, step=False)"},
    {"stash", rec_stash, METH_VARARGS, "stash(serial, signal): deliver at the next call"},
    {"landmark", rec_landmark, METH_VARARGS,
     "landmark(serial, signal) -> whether the place in user code was logged"},
    {"skip", rec_skip, METH_VARARGS, "skip(serial, result): the call is not made"},
    {"set_result", rec_set_result, METH_VARARGS, "set_result(serial, result), at exit"},
    {"set_args", rec_set_args, METH_VARARGS, "set_args(serial, six), at entry"},
    {"call_regs", rec_call_regs, METH_VARARGS, "call_regs(serial) -> registers at the call's entry"},
    {"attach", rec_attach, METH_VARARGS, "attach(serial, extra bytes) to the call's event"},
    {"out", rec_out, METH_VARARGS, "out(serial, address, length): memory written by the call"},
    {"log_entry", rec_log_entry, METH_VARARGS, "log_entry(serial)"},
    {"call_over", rec_call_over, METH_VARARGS, "call_over(serial): it does not return"},
    {"finish_call", rec_finish_call, METH_VARARGS, "finish_call(serial): log its end now"},
    {"emit", rec_emit, METH_VARARGS,
     "emit(kind, flags, nr, serial, regs, result, regions, extra): one event"},
    {"read", rec_read, METH_VARARGS, "read(serial, address, length) -> bytes"},
    {"write", rec_write, METH_VARARGS, "write(serial, address, bytes)"},
    {"mem_fd", rec_mem_fd, METH_VARARGS, "mem_fd(serial)"},
    {"scratch", rec_scratch, METH_VARARGS, "scratch(serial) -> (address, size)"},
    {"remote", rec_remote, METH_VARARGS, "remote(serial, nr, six arguments, instruction=the agent's) -> result"},
    {"add_echo", rec_add_echo, METH_VARARGS, "add_echo(fd, bit): a file that replay shows"},
    {"is_echo", rec_is_echo, METH_VARARGS, "is_echo(serial, fd) -> bit"},
    {"watch_writes", rec_watch_writes, METH_VARARGS, "watch_writes(on)"},
    {"set_slice", rec_set_slice, METH_VARARGS, "set_slice(ns)"},
    {"chaos", rec_chaos, METH_VARARGS, "chaos(seed): unfair scheduling"},
    {"verify", rec_verify, METH_VARARGS, "verify(level): WHY_LANDMARK after preemptions (1), calls (2)"},
    {"next_chunk", rec_next_chunk, METH_VARARGS, "next_chunk(timeout_ms) -> (bytes, events) or None"},
    {"close_log", rec_close_log, METH_NOARGS, "close_log()"},
    {"discard_log", rec_discard_log, METH_NOARGS, "discard_log()"},
    {"stats", rec_stats, METH_NOARGS, "stats()"},
    {NULL, NULL, 0, NULL},
};

#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

static PyObject *rec_is_echo(PyObject *self, PyObject *args)
{
    const struct recorder *r = rec_of(self);
    unsigned serial;
    struct task *t;
    int fd;

    if (!PyArg_ParseTuple(args, "Ii", &serial, &fd) || !(t = need_task(self, serial)))
        return NULL;
    for (unsigned i = 0; i < r->n_echo; i++)
        if (syscall(SYS_kcmp, t->tid, getpid(), KCMP_FILE, fd, r->echo_fds[i]) == 0)
            return PyLong_FromLong(r->echo_bits[i]);
    return PyLong_FromLong(0);
}

static PyType_Slot rec_slots[] = {
    {Py_tp_new, rec_new},
    {Py_tp_dealloc, rec_dealloc},
    {Py_tp_methods, rec_methods},
    {Py_tp_doc, "The recording loop. All its methods but next_chunk belong to one thread."},
    {0, NULL},
};

PyType_Spec recorder_spec = {
    .name = "relive._core.Recorder",
    .basicsize = sizeof(RecorderObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = rec_slots,
};
