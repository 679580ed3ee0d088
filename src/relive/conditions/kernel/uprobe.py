"""Uprobes: a breakpoint instruction that the kernel puts into a file's mapping.

Some facts about uprobes:

- The kernel emulates a few instructions at the probe: that costs 0.6 µs a hit, where any
  other one is copied elsewhere and single-stepped (more than a hardware breakpoint costs).
  `emulated` is the table of those that every kernel emulates.
- A program returning 0 ends the hit.  It runs for every thread of the processes that have an
  event, and once for each event: one event a process, and the program itself sends the signal
  to the thread that hit.
- The signal is delivered after the instruction: `before` gives the registers as they were.
- Opening costs 10 to 20 ms and closing 40 to 90 ms (both wait for the other cores), and needs
  root or CAP_PERFMON.  The breakpoint instruction is visible in memory.
- The probe is in the file: code without a file (JIT) has none, and a process that maps the
  file later gets it too.  It stays in a child made by fork only if the event is inherited.
"""

from __future__ import annotations

import ctypes
import enum
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from relive.arch import x86_64
from relive.conditions.kernel import abi
from relive.conditions.kernel.perf import Event

_TYPE: Final = Path("/sys/bus/event_source/devices/uprobe/type")
_RIP: Final = x86_64.BY_NAME[x86_64.INSTRUCTION_POINTER].index
_RSP: Final = x86_64.BY_NAME[x86_64.STACK_POINTER].index


class Kind(enum.Enum):
    """What an emulated instruction does to the registers besides rip."""

    NOP = "nop"
    JUMP = "jmp"
    BRANCH = "jcc"
    CALL = "call"
    PUSH = "push"


class Emulated(NamedTuple):
    """An instruction that the kernel emulates; length in bytes."""

    kind: Kind
    length: int


def emulated(code: bytes) -> Emulated | None:
    """The emulated instruction that `code` begins with, or None.

    Without prefixes (an operand-size prefix on a branch makes the kernel refuse the probe):
    nop (90), jmp rel8 (eb) and rel32 (e9), call rel32 (e8), jcc rel8 (70 to 7f) and rel32 (0f
    80 to 0f 8f): branch_setup_xol_ops of arch/x86/kernel/uprobes.c; push of a register, with
    41 in front for r8 to r15 (50 to 57): push_setup_xol_ops, Linux 4.16.
    """
    if len(code) < 2:
        return Emulated(Kind.NOP, 1) if code == b"\x90" else None
    first, second = code[0], code[1]
    if first == 0x90:
        return Emulated(Kind.NOP, 1)
    if first == 0xEB:
        return Emulated(Kind.JUMP, 2)
    if first == 0xE9:
        return Emulated(Kind.JUMP, 5)
    if first == 0xE8:
        return Emulated(Kind.CALL, 5)
    if first & 0xF0 == 0x70:
        return Emulated(Kind.BRANCH, 2)
    if first == 0x0F and second & 0xF0 == 0x80:
        return Emulated(Kind.BRANCH, 6)
    if first & 0xF8 == 0x50:
        return Emulated(Kind.PUSH, 1)
    if first == 0x41 and second & 0xF8 == 0x50:
        return Emulated(Kind.PUSH, 2)
    return None


def before(regs: Sequence[int], address: int, instruction: Emulated) -> tuple[int, ...]:
    """The registers as they were at the site, from those of a task stopped after it.

    regs: 27 words of struct user_regs_struct.  What push and call overwrote below the stack
    pointer is gone.
    """
    result = list(regs)
    result[_RIP] = address
    if instruction.kind in (Kind.PUSH, Kind.CALL):
        result[_RSP] = (result[_RSP] + x86_64.WORD_SIZE) & 0xFFFF_FFFF_FFFF_FFFF
    return tuple(result)


class Place(NamedTuple):
    """Where an address of a process comes from: a file (a path that leads to it from here, also
    when it was deleted or is in a container) and the offset in it; name: for people."""

    path: str
    offset: int
    name: str


def locate(pid: int, address: int) -> Place | None:
    """The file behind an executable address of a process; None when there is none.

    Raises OSError when the process is gone or not ours to see.
    """
    for line in Path(f"/proc/{pid}/maps").read_text(errors="surrogateescape").splitlines():
        span, rights, offset, _, inode, *name = line.split(maxsplit=5)
        low, high = (int(part, 16) for part in span.split("-"))
        if not low <= address < high:
            continue
        if "x" not in rights or inode == "0" or not name:
            return None
        path = f"/proc/{pid}/map_files/{low:x}-{high:x}"
        try:
            Path(path).stat()
        except OSError:  # needs CAP_CHECKPOINT_RESTORE
            path = name[0]
        return Place(path, address - low + int(offset, 16), name[0])
    return None


@functools.cache
def _event_type() -> int:
    return int(_TYPE.read_text())


def open_event(pid: int, place: Place, *, inherit: bool = False) -> Event:
    """An event at a file's instruction, for the process `pid` and all its threads.

    Takes 10 to 20 ms.  Raises OSError: EACCES or EPERM without privilege, ENOTSUPP (524) or
    EINVAL for an instruction that can't have one.
    """
    path = ctypes.create_string_buffer(os.fsencode(place.path))
    attr = abi.PerfAttr(
        type=_event_type(),
        sample_period=1,
        flags=abi.PERF_DISABLED | (abi.PERF_INHERIT if inherit else 0),
        wakeup_events=1,
        config1=ctypes.addressof(path),
        config2=place.offset,
    )
    event = Event(attr, pid)
    attr.config1 = 0  # the kernel has its own copy of the path
    return event


@functools.cache
def missing() -> str | None:
    """Why this process can't open uprobes; None when it can.  Tried on this process's libc."""
    try:
        address = ctypes.cast(ctypes.CDLL(None).getppid, ctypes.c_void_p).value or 0
        place = locate(os.getpid(), address)
        if place is None:
            return "libc is not mapped from a file"
        open_event(os.getpid(), place).close()
    except (OSError, ValueError) as error:
        return f"no uprobes: {error}"
    return None
