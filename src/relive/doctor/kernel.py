"""The kernel calls the probes make, over ctypes.

The doctor must work where the C core does not even load, so it does not use it.
Every function raises OSError, with the call's name as `filename`.
Numbers and layouts: the kernel's uapi headers for x86-64.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Any

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

# <linux/ptrace.h>, <sys/ptrace.h>
PTRACE_GETREGS = 12
PTRACE_CONT = 7
PTRACE_SYSCALL = 24
PTRACE_SYSEMU = 31
PTRACE_GETSIGINFO = 0x4202
PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
PTRACE_GET_SYSCALL_INFO = 0x420E
O_TRACESYSGOOD = 1
O_TRACESECCOMP = 1 << 7
O_EXITKILL = 1 << 20
EVENT_SECCOMP = 7
EVENT_STOP = 128

# system calls without a wrapper in glibc 2.36
NR_PRCTL = 157  # prctl(3) is variadic: the raw call leaves no doubt
NR_ARCH_PRCTL = 158
NR_PERF_EVENT_OPEN = 298
NR_KCMP = 312
NR_SECCOMP = 317
NR_BPF = 321
NR_PIDFD_OPEN = 434
NR_PIDFD_GETFD = 438


def fail(call: str) -> OSError:
    """The error of the call that just failed."""
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), call)


def syscall(call: str, number: int, *args: Any) -> int:
    """A raw system call; integers are passed as 64 bits."""
    wide = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    result = int(libc.syscall(ctypes.c_long(number), *wide))
    if result == -1:
        raise fail(call)
    return result


def ptrace(name: str, request: int, pid: int, addr: int = 0, data: Any = 0) -> int:
    """ptrace(2); `name` is for the error."""
    if isinstance(data, int):
        data = ctypes.c_void_p(data)
    result = int(libc.ptrace(request, pid, ctypes.c_void_p(addr), data))
    if result == -1:
        raise fail(name)
    return result


def prctl(name: str, option: int, *args: int) -> int:
    """prctl(2)."""
    return syscall(name, NR_PRCTL, option, *args, *[0] * (4 - len(args)))


def address(function: str) -> int:
    """Where a function of libc is in this process (and its forks)."""
    return ctypes.cast(getattr(libc, function), ctypes.c_void_p).value or 0


def execute(code: bytes) -> int:
    """Run machine code in this process: `int f(void)`."""
    page = mmap.mmap(
        -1,
        mmap.PAGESIZE,
        mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
        mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC,
    )
    page.write(code)
    start = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return int(ctypes.CFUNCTYPE(ctypes.c_int)(start)())


class PerfAttr(ctypes.Structure):
    """struct perf_event_attr of <linux/perf_event.h>, size 128 (PERF_ATTR_SIZE_VER7)."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
        ("wakeup_events", ctypes.c_uint32),
        ("bp_type", ctypes.c_uint32),
        ("config1", ctypes.c_uint64),  # bp_addr, uprobe_path
        ("config2", ctypes.c_uint64),  # bp_len, probe_offset
        ("branch_sample_type", ctypes.c_uint64),
        ("sample_regs_user", ctypes.c_uint64),
        ("sample_stack_user", ctypes.c_uint32),
        ("clockid", ctypes.c_int32),
        ("sample_regs_intr", ctypes.c_uint64),
        ("aux_watermark", ctypes.c_uint32),
        ("sample_max_stack", ctypes.c_uint16),
        ("reserved_2", ctypes.c_uint16),
        ("aux_sample_size", ctypes.c_uint32),
        ("reserved_3", ctypes.c_uint32),
        ("sig_data", ctypes.c_uint64),
    )


PERF_TYPE_HARDWARE = 0
PERF_TYPE_BREAKPOINT = 5
PERF_COUNT_HW_INSTRUCTIONS = 1
HW_BREAKPOINT_X = 4
PERF_DISABLED = 1 << 0
PERF_EXCLUDE_KERNEL = 1 << 5
PERF_EXCLUDE_HV = 1 << 6
PERF_REMOVE_ON_EXEC = 1 << 36
PERF_SIGTRAP = 1 << 37
PERF_FLAG_FD_CLOEXEC = 8
PERF_IOC_ENABLE = 0x2400
PERF_IOC_SET_BPF = 0x40042408


def perf_event_open(attr: PerfAttr, tid: int) -> int:
    """perf_event_open(2) on a thread, any CPU; returns the file descriptor."""
    attr.size = ctypes.sizeof(attr)
    return syscall(
        "perf_event_open",
        NR_PERF_EVENT_OPEN,
        ctypes.byref(attr),
        tid,
        -1,
        -1,
        PERF_FLAG_FD_CLOEXEC,
    )


BPF_MAP_CREATE = 0
BPF_PROG_LOAD = 5
BPF_MAP_TYPE_ARRAY = 2
BPF_PROG_TYPE_KPROBE = 2
BPF_PROG_TYPE_PERF_EVENT = 7
BPF_F_MMAPABLE = 1 << 10


def bpf_return(value: int, kind: int = BPF_PROG_TYPE_PERF_EVENT) -> int:
    """Load a BPF program that returns `value`; its file descriptor."""
    # mov64 r0, value; exit
    code = (0xB7 | value << 32).to_bytes(8, "little") + (0x95).to_bytes(8, "little")
    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"GPL")
    attr = (ctypes.c_uint64 * 16)()  # union bpf_attr, zero past what is used
    attr[0] = kind | (len(code) // 8) << 32
    attr[1] = ctypes.addressof(instructions)
    attr[2] = ctypes.addressof(licence)
    return syscall("bpf(BPF_PROG_LOAD)", NR_BPF, BPF_PROG_LOAD, ctypes.byref(attr), 128)


def bpf_array() -> int:
    """Create a BPF array map that can be mapped; its file descriptor."""
    attr = (ctypes.c_uint32 * 32)()
    attr[0:5] = [BPF_MAP_TYPE_ARRAY, 4, 8, 1, BPF_F_MMAPABLE]
    return syscall("bpf(BPF_MAP_CREATE)", NR_BPF, BPF_MAP_CREATE, ctypes.byref(attr), 128)
