"""The kernel's side of the kernel evaluator: bpf(2), perf_event_open(2) and their layouts.

Over ctypes: these calls are made when a site is armed or moved, never per hit.  Every
function raises OSError with the call's name as `filename`.
Numbers and layouts: <linux/bpf.h>, <linux/perf_event.h>, <asm/unistd_64.h>.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

NR_PERF_EVENT_OPEN: Final = 298
NR_BPF: Final = 321


def _fail(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), call)


# ---------------------------------------------------------------------------- bpf(2)

BPF_MAP_CREATE: Final = 0
BPF_PROG_LOAD: Final = 5
BPF_PROG_TEST_RUN: Final = 10
BPF_LINK_CREATE: Final = 28

BPF_MAP_TYPE_ARRAY: Final = 2
BPF_MAP_TYPE_RINGBUF: Final = 27
BPF_F_MMAPABLE: Final = 1 << 10

BPF_PROG_TYPE_KPROBE: Final = 2
BPF_PROG_TYPE_PERF_EVENT: Final = 7
BPF_PROG_TYPE_SYSCALL: Final = 31
BPF_F_SLEEPABLE: Final = 1 << 4
BPF_PERF_EVENT: Final = 41  # attach type of BPF_LINK_CREATE

BPF_OBJ_NAME_LEN: Final = 16
ATTR_SIZE: Final = 128
"""Bytes of union bpf_attr passed; the kernel takes any size whose unknown tail is zero."""


class MapCreate(ctypes.Structure):
    """The BPF_MAP_CREATE part of union bpf_attr."""

    _fields_ = (
        ("map_type", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("inner_map_fd", ctypes.c_uint32),
        ("numa_node", ctypes.c_uint32),
        ("map_name", ctypes.c_char * BPF_OBJ_NAME_LEN),
        ("rest", ctypes.c_uint8 * (ATTR_SIZE - 44)),
    )


class ProgLoad(ctypes.Structure):
    """The BPF_PROG_LOAD part of union bpf_attr."""

    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_void_p),
        ("license", ctypes.c_char_p),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_void_p),
        ("kern_version", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_name", ctypes.c_char * BPF_OBJ_NAME_LEN),
        ("rest", ctypes.c_uint8 * (ATTR_SIZE - 64)),
    )


class TestRun(ctypes.Structure):
    """The BPF_PROG_TEST_RUN part of union bpf_attr."""

    _fields_ = (
        ("prog_fd", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("data_in", ctypes.c_void_p),
        ("data_out", ctypes.c_void_p),
        ("repeat", ctypes.c_uint32),
        ("duration", ctypes.c_uint32),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("rest", ctypes.c_uint8 * (ATTR_SIZE - 64)),
    )


class LinkCreate(ctypes.Structure):
    """The BPF_LINK_CREATE part of union bpf_attr."""

    _fields_ = (
        ("prog_fd", ctypes.c_uint32),
        ("target_fd", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * (ATTR_SIZE - 16)),
    )


def bpf(call: str, command: int, attr: ctypes.Structure) -> int:
    """bpf(2); `call` is for the error."""
    assert ctypes.sizeof(attr) == ATTR_SIZE
    result = int(
        _libc.syscall(
            ctypes.c_long(NR_BPF), ctypes.c_long(command), ctypes.byref(attr), ctypes.c_long(128)
        )
    )
    if result == -1:
        raise _fail(call)
    return result


# ---------------------------------------------------------------- perf_event_open(2)


class PerfAttr(ctypes.Structure):
    """struct perf_event_attr, PERF_ATTR_SIZE_VER7 (Linux 5.13: sig_data)."""

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
        ("config1", ctypes.c_uint64),  # bp_addr; uprobe_path
        ("config2", ctypes.c_uint64),  # bp_len; probe_offset
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


PERF_TYPE_BREAKPOINT: Final = 5

# attr.flags, by bit
PERF_DISABLED: Final = 1 << 0
PERF_INHERIT: Final = 1 << 1
PERF_EXCLUDE_KERNEL: Final = 1 << 5
PERF_EXCLUDE_HV: Final = 1 << 6
PERF_SAMPLE_ID_ALL: Final = 1 << 18
PERF_INHERIT_THREAD: Final = 1 << 35  # Linux 5.13
PERF_REMOVE_ON_EXEC: Final = 1 << 36  # Linux 5.13
PERF_SIGTRAP: Final = 1 << 37  # Linux 5.13

PERF_FLAG_FD_CLOEXEC: Final = 8

PERF_SAMPLE_IP: Final = 1 << 0
PERF_SAMPLE_TID: Final = 1 << 1
PERF_SAMPLE_TIME: Final = 1 << 2
PERF_SAMPLE_REGS_USER: Final = 1 << 12
PERF_SAMPLE_STACK_USER: Final = 1 << 13

PERF_RECORD_LOST: Final = 2
PERF_RECORD_SAMPLE: Final = 9
PERF_RECORD_LOST_SAMPLES: Final = 13

PERF_EVENT_IOC_ENABLE: Final = 0x2400
PERF_EVENT_IOC_DISABLE: Final = 0x2401
PERF_EVENT_IOC_REFRESH: Final = 0x2402
PERF_EVENT_IOC_RESET: Final = 0x2403
PERF_EVENT_IOC_PERIOD: Final = 0x40082404
PERF_EVENT_IOC_SET_BPF: Final = 0x40042408
PERF_EVENT_IOC_MODIFY_ATTRIBUTES: Final = 0x4008240B  # Linux 4.17


def perf_event_open(attr: PerfAttr, tid: int) -> int:
    """perf_event_open(2) on a thread, on any core; returns the file descriptor."""
    attr.size = ctypes.sizeof(attr)
    fd = int(
        _libc.syscall(
            ctypes.c_long(NR_PERF_EVENT_OPEN),
            ctypes.byref(attr),
            ctypes.c_long(tid),
            ctypes.c_long(-1),
            ctypes.c_long(-1),
            ctypes.c_long(PERF_FLAG_FD_CLOEXEC),
        )
    )
    if fd == -1:
        raise _fail("perf_event_open")
    return fd


def ioctl(
    call: str, fd: int, request: int, argument: int | ctypes.Structure | ctypes.c_uint64
) -> int:
    """ioctl(2); an integer is passed by value, anything else by address."""
    value = ctypes.c_long(argument) if isinstance(argument, int) else ctypes.byref(argument)
    result = int(_libc.ioctl(ctypes.c_int(fd), ctypes.c_ulong(request), value))
    if result == -1:
        raise _fail(f"ioctl({call})")
    return result
