"""Can a process be traced, its system calls stopped at and emulated?"""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

from relive.doctor import kernel
from relive.doctor.child import Child
from relive.doctor.finding import Finding, Probe
from relive.doctor.isolate import explain

PR_SET_NO_NEW_PRIVS = 38
SECCOMP_SET_MODE_FILTER = 1
SYSCALL_STOP = signal.SIGTRAP | 0x80  # with PTRACE_O_TRACESYSGOOD


def calls() -> int:
    """Body of a traced child: a system call after the other."""
    while True:
        os.getppid()


def advice() -> str:
    """What can stand in the way of ptrace, and what to do."""
    try:
        scope = Path("/proc/sys/kernel/yama/ptrace_scope").read_text().strip()
    except OSError:
        scope = ""
    if scope == "3":
        return "yama ptrace_scope is 3, no tracing until reboot: boot with a lower one"
    if scope == "2":
        return "as root: sysctl kernel.yama.ptrace_scope=1"
    return "in a container: allow ptrace in its seccomp profile, or --cap-add SYS_PTRACE"


def ptrace() -> Finding:
    with Child(calls) as child:
        try:
            child.seize()
            child.release()
            child.interrupt()
            child.resume(kernel.PTRACE_SYSCALL)
            status = child.wait()
            if not os.WIFSTOPPED(status) or os.WSTOPSIG(status) != SYSCALL_STOP:
                return Finding("no", f"no stop at a system call (wait status {status:#x})")
            info = ctypes.create_string_buffer(128)
            kernel.ptrace(
                "ptrace(PTRACE_GET_SYSCALL_INFO)",
                kernel.PTRACE_GET_SYSCALL_INFO,
                child.pid,
                len(info),
                info,
            )
        except OSError as error:
            return Finding("no", explain(error), advice())
    return Finding("yes", "a child can be seized, stopped and watched at its system calls")


def sysemu() -> Finding:
    with Child(calls) as child:
        child.seize()
        child.release()
        child.interrupt()
        child.resume(kernel.PTRACE_SYSEMU)
        first = child.wait()
        child.resume(kernel.PTRACE_SYSEMU)
        second = child.wait()
    for status in (first, second):
        # With SYSEMU there is no stop at the exit: both are entries.
        if not os.WIFSTOPPED(status) or os.WSTOPSIG(status) != SYSCALL_STOP:
            return Finding("no", f"no stop before the call (wait status {status:#x})")
    return Finding("yes", "PTRACE_SYSEMU stops before a system call and skips it")


class SockFilter(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jt", ctypes.c_uint8),
        ("jf", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class SockFprog(ctypes.Structure):
    _fields_ = (("len", ctypes.c_uint16), ("filter", ctypes.POINTER(SockFilter)))


def filtered() -> int:
    """Body of a child: RET_TRACE for getppid, then getppid."""
    program = (SockFilter * 4)(
        SockFilter(0x20, 0, 0, 0),  # ld [nr]
        SockFilter(0x15, 0, 1, 110),  # jeq getppid
        SockFilter(0x06, 0, 0, 0x7FF00000),  # ret RET_TRACE
        SockFilter(0x06, 0, 0, 0x7FFF0000),  # ret ALLOW
    )
    try:
        kernel.prctl("prctl(PR_SET_NO_NEW_PRIVS)", PR_SET_NO_NEW_PRIVS, 1)
        kernel.syscall(
            "seccomp",
            kernel.NR_SECCOMP,
            SECCOMP_SET_MODE_FILTER,
            0,
            ctypes.byref(SockFprog(4, program)),
        )
    except OSError as error:
        return error.errno or 99
    os.getppid()
    return 0


def seccomp() -> Finding:
    with Child(filtered) as child:
        child.seize(kernel.O_TRACESECCOMP)
        child.release()
        status = child.wait()
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        error = os.WEXITSTATUS(status)
        return Finding(
            "no",
            f"seccomp: {os.strerror(error)}",
            "in a container: allow seccomp(2) in its seccomp profile",
        )
    if status >> 8 != (signal.SIGTRAP | kernel.EVENT_SECCOMP << 8):
        return Finding("no", f"a filter's RET_TRACE did not stop (wait status {status:#x})")
    return Finding("yes", "a filter's RET_TRACE stops the child")


def yama() -> Finding:
    try:
        scope = Path("/proc/sys/kernel/yama/ptrace_scope").read_text().strip()
    except OSError:
        return Finding("yes", "no Yama: one's own processes may be traced")
    meaning = {
        "0": "one's own processes may be traced",
        "1": "descendants may be traced (all that record and replay need)",
        "2": "only with CAP_SYS_PTRACE",
        "3": "nobody may trace",
    }.get(scope, "unknown")
    return Finding(
        "yes" if scope in ("0", "1") else "note",
        f"ptrace_scope is {scope}: {meaning}",
        advice() if scope in ("2", "3") else "",
    )


PROBES = (
    Probe("ptrace", "record and replay", ptrace, required=True),
    Probe("ptrace sysemu", "replay: system calls answered from the log", sysemu, required=True),
    Probe("yama", "who may trace whom", yama),
    Probe(
        "seccomp",
        "not used by this version, which stops at every system call",
        seccomp,
    ),
)
