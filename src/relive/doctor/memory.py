"""Reading and writing a traced process, and looking at what it has open."""

from __future__ import annotations

import ctypes
import os

from relive.doctor import kernel
from relive.doctor.child import Child
from relive.doctor.finding import Finding, Probe
from relive.doctor.tracing import calls

KCMP_FILE = 0


def proc_mem() -> Finding:
    # The text of libc is mapped read-only: the write must go through all the
    # same, as breakpoints need.  Linux 6.12 (proc_mem.force_override) can
    # forbid that even to the tracer.
    at = kernel.address("getppid")
    with Child(calls) as child:
        child.seize()
        child.release()
        child.interrupt()
        fd = os.open(f"/proc/{child.pid}/mem", os.O_RDWR | os.O_CLOEXEC)
        try:
            found = os.pread(fd, 16, at)
            if found != ctypes.string_at(at, 16):
                return Finding("no", "read other bytes than the process has")
            try:
                os.pwrite(fd, found, at)
            except OSError as error:
                return Finding(
                    "no",
                    f"writing to read-only pages: {error.strerror}",
                    "boot with proc_mem.force_override=ptrace",
                )
        finally:
            os.close(fd)
    return Finding("yes", "reads and writes, read-only pages included")


class IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))


def process_vm() -> Finding:
    at = kernel.address("getppid")
    into = ctypes.create_string_buffer(16)
    local = IoVec(ctypes.addressof(into), 16)
    remote = IoVec(at, 16)
    with Child(calls) as child:
        child.seize()
        kernel.libc.process_vm_readv.restype = ctypes.c_ssize_t
        count = kernel.libc.process_vm_readv(
            child.pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0
        )
        if count == -1:
            raise kernel.fail("process_vm_readv")
    if count != 16 or into.raw != ctypes.string_at(at, 16):
        return Finding("no", "read other bytes than the process has")
    return Finding("yes", "process_vm_readv reads a traced process")


def kcmp() -> Finding:
    first, second = os.pipe()
    copy = os.dup(first)
    pid = os.getpid()
    same = kernel.syscall("kcmp", kernel.NR_KCMP, pid, pid, KCMP_FILE, first, copy)
    other = kernel.syscall("kcmp", kernel.NR_KCMP, pid, pid, KCMP_FILE, first, second)
    if same != 0 or other == 0:
        return Finding("no", "kcmp does not tell open files apart")
    return Finding("yes", "tells whether two descriptors are the same open file")


def pidfd_getfd() -> Finding:
    reader, writer = os.pipe()
    with Child(calls) as child:
        child.seize()
        pidfd = kernel.syscall("pidfd_open", kernel.NR_PIDFD_OPEN, child.pid, 0)
        copy = kernel.syscall("pidfd_getfd", kernel.NR_PIDFD_GETFD, pidfd, writer, 0)
    os.write(copy, b"x")
    if os.read(reader, 1) != b"x":
        return Finding("no", "the copied descriptor is another file")
    return Finding("yes", "a traced process's descriptor can be copied")


PROBES = (
    Probe("/proc/PID/mem", "all access to the program's memory", proc_mem, required=True),
    Probe("process_vm_readv", "fast reads; /proc/PID/mem does as well", process_vm),
    Probe("kcmp", "which descriptors are stdout and stderr; /proc/PID/fd does as well", kcmp),
    Probe("pidfd_getfd", "looking into a program's sockets and files; not needed", pidfd_getfd),
)
