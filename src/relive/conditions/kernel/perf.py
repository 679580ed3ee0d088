"""Perf events: hardware breakpoints and watchpoints on a thread, and how a hit is told.

Some facts about perf breakpoint events:

- There are 4 slots a thread, shared with the debug registers ptrace sets; the fifth event
  gives ENOSPC.  Events of a process's threads need a slot in each thread.
- An execution breakpoint triggers before the instruction, a data watchpoint after it.  The
  kernel sets RF itself, so that going on does not trigger again; a tracer that clears RF in
  the registers makes it trigger again.
- With sigtrap (Linux 5.13) the hit is a SIGTRAP, si_code TRAP_PERF, with the event's cookie in
  si_perf_data, delivered before the task executes anything more.  It is lost without a word
  if the task blocks SIGTRAP.  sigtrap needs remove_on_exec.
- The other way is a signal of the file descriptor (F_SETSIG): SIGSTOP can't be blocked.
- With sample_period N every Nth hit is told, exactly; that needs no BPF and no privilege.
- The count of an event (read(2)) counts all hits, also those that a program rejected, and also
  those for which the program did not run because another one ran on that core: a count above
  the program's own shows the miss.
- A program can be attached once (a second SET_BPF gives EEXIST), and stays when the event is
  moved (PERF_EVENT_IOC_MODIFY_ATTRIBUTES).
- perf_event_paranoid up to 2 allows all this on one's own processes without privilege, as
  exclude_kernel is set; loading programs is another matter (bpf.py).
"""

from __future__ import annotations

import ctypes
import enum
import fcntl
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from relive.conditions.kernel import abi

if TYPE_CHECKING:
    from types import TracebackType

TRAP_PERF: Final = 6
"""si_code of a SIGTRAP that a perf event sent, <asm-generic/siginfo.h>."""

_F_SETOWN_EX: Final = 15
_F_SETSIG: Final = 10
_F_OWNER_TID: Final = 0
_SIGTRAP: Final = 5
_POLL_CODES: Final = range(1, 7)  # POLL_IN to POLL_HUP


class Access(enum.Enum):
    """What triggers; the values are HW_BREAKPOINT_* of <linux/hw_breakpoint.h>."""

    EXECUTE = 4
    WRITE = 2
    READ_WRITE = 3


class Inherit(enum.Enum):
    """Which tasks that the thread makes later have the event too.

    An inherited event shares the program, the cookie and the count of its origin.
    """

    NONE = 0
    THREADS = abi.PERF_INHERIT | abi.PERF_INHERIT_THREAD
    ALL = abi.PERF_INHERIT


@dataclass(frozen=True, slots=True)
class SampleFields:
    """What a sample has: always address and task; registers and so many bytes of stack.

    stack: a multiple of 8, at most 65528.
    """

    registers: bool = True
    stack: int = 0


class Event:
    """A perf event; disabled until `enable`.  `close` it, or use it in a `with` block.

    fd: its file descriptor.  tid: the thread it is on.
    Methods raise OSError with the call's name as `filename`.
    """

    def __init__(self, attr: abi.PerfAttr, tid: int) -> None:
        self.attr = attr
        self.tid = tid
        self.fd = abi.perf_event_open(attr, tid)

    @classmethod
    def breakpoint(
        cls,
        tid: int,
        address: int,
        access: Access = Access.EXECUTE,
        length: int = 8,
        *,
        sigtrap: bool = False,
        cookie: int = 0,
        period: int = 1,
        inherit: Inherit = Inherit.NONE,
        samples: SampleFields | None = None,
    ) -> Self:
        """A breakpoint on a thread (0: the calling one).

        length: bytes watched, 1, 2, 4 or 8, to which `address` is aligned; 8 for EXECUTE.
        period: tell every Nth hit.  samples: what goes to the buffer of `samples.Samples`.
        Raises OSError: ENOSPC no free slot, EACCES or EPERM not allowed, ESRCH no such thread,
        EINVAL an unaligned or kernel address.
        """
        attr = abi.PerfAttr(
            type=abi.PERF_TYPE_BREAKPOINT,
            sample_period=period,
            flags=abi.PERF_DISABLED
            | abi.PERF_EXCLUDE_KERNEL
            | abi.PERF_EXCLUDE_HV
            | abi.PERF_REMOVE_ON_EXEC
            | (abi.PERF_SIGTRAP if sigtrap else 0)
            | inherit.value,
            wakeup_events=1,
            bp_type=access.value,
            config1=address,
            config2=length,
            sig_data=cookie,
        )
        if samples:
            _ask_for(attr, samples)
        return cls(attr, tid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the event; hits are no longer told."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    @property
    def enabled(self) -> bool:
        """Whether it was enabled last."""
        return not self.attr.flags & abi.PERF_DISABLED

    def set_program(self, program: int) -> None:
        """Let a BPF program (its file descriptor) decide each hit.  Once only."""
        abi.ioctl("PERF_EVENT_IOC_SET_BPF", self.fd, abi.PERF_EVENT_IOC_SET_BPF, program)

    def enable(self) -> None:
        """Count, decide and tell hits from now on."""
        abi.ioctl("PERF_EVENT_IOC_ENABLE", self.fd, abi.PERF_EVENT_IOC_ENABLE, 0)
        self.attr.flags &= ~abi.PERF_DISABLED

    def disable(self) -> None:
        """Stop that."""
        abi.ioctl("PERF_EVENT_IOC_DISABLE", self.fd, abi.PERF_EVENT_IOC_DISABLE, 0)
        self.attr.flags |= abi.PERF_DISABLED

    def refresh(self, hits: int) -> None:
        """Enable for so many more told hits; the kernel disables it with the last one."""
        abi.ioctl("PERF_EVENT_IOC_REFRESH", self.fd, abi.PERF_EVENT_IOC_REFRESH, hits)
        self.attr.flags &= ~abi.PERF_DISABLED

    def set_period(self, period: int) -> None:
        """Tell the hit after `period - 1` more, then every `period`th."""
        value = ctypes.c_uint64(period)
        abi.ioctl("PERF_EVENT_IOC_PERIOD", self.fd, abi.PERF_EVENT_IOC_PERIOD, value)
        self.attr.sample_period = period

    def move(self, address: int) -> None:
        """Watch another address; program, state and count stay (Linux 4.17)."""
        old = int(self.attr.config1)
        self.attr.config1 = address
        try:
            abi.ioctl(
                "PERF_EVENT_IOC_MODIFY_ATTRIBUTES",
                self.fd,
                abi.PERF_EVENT_IOC_MODIFY_ATTRIBUTES,
                self.attr,
            )
        except OSError:
            self.attr.config1 = old
            raise

    def signal_by_fd(self, signal: int) -> None:
        """Tell each hit by `signal` to the thread, si_fd being `fd` (of this process)."""
        try:
            fcntl.fcntl(self.fd, _F_SETOWN_EX, struct.pack("ii", _F_OWNER_TID, self.tid))
            fcntl.fcntl(self.fd, _F_SETSIG, signal)
            flags = fcntl.fcntl(self.fd, fcntl.F_GETFL)
            fcntl.fcntl(self.fd, fcntl.F_SETFL, flags | os.O_ASYNC)
        except OSError as error:
            error.filename = "fcntl(F_SETSIG)"
            raise

    def count(self) -> int:
        """Hits since it was made, of inherited events too; rejected ones included."""
        data = os.read(self.fd, 8)
        # The kernel gives nothing for an event in error state.
        return int.from_bytes(data, "little")


def _ask_for(attr: abi.PerfAttr, fields: SampleFields) -> None:
    attr.sample_type = abi.PERF_SAMPLE_IP | abi.PERF_SAMPLE_TID
    if fields.registers:
        attr.sample_type |= abi.PERF_SAMPLE_REGS_USER
        attr.sample_regs_user = REGISTERS_MASK
    if fields.stack:
        attr.sample_type |= abi.PERF_SAMPLE_STACK_USER
        attr.sample_stack_user = fields.stack


REGISTERS_MASK: Final = 0xFF0FFF
"""enum perf_event_x86_regs without ds, es, fs and gs, which 64-bit tasks do not have there."""


def trap_cookie(siginfo: bytes) -> int | None:
    """The cookie of the event that sent this SIGTRAP; None if no perf event did.

    siginfo: as PTRACE_GETSIGINFO gives it.
    """
    number, _, code = struct.unpack_from("iii", siginfo)
    if number != _SIGTRAP or code != TRAP_PERF:
        return None
    (cookie,) = struct.unpack_from("Q", siginfo, 24)
    return int(cookie)


def signal_fd(siginfo: bytes) -> int | None:
    """The file descriptor (of the tracer) whose signal this is; None if it is none's."""
    number, _, code = struct.unpack_from("iii", siginfo)
    # Signals with codes of their own, SIGTRAP among them, come with SI_SIGIO.
    if code not in _POLL_CODES and code != -5:
        return None
    if number == _SIGTRAP and code != -5:
        return None
    (fd,) = struct.unpack_from("i", siginfo, 24)
    return int(fd)
