"""A site whose hits are decided in the kernel.

    with Programs() as programs, BreakpointSite(programs, address, condition) as site:
        site.attach(tid)              # for each thread
        ...                           # a stop of `tid` with trap_cookie(siginfo) == site.cookie
        told = site.take_stop(tid)    # which hit, and whether the kernel could decide it
        site.counts()

A candidate stops the task at the address, before its instruction.  A hit that the kernel could
not decide (a page that is not in memory, a division by zero) stops it as well, and the
supervisor decides: `Why.UNDECIDED`.  What must not happen, a candidate without a stop, is to be
seen in `Counts`: `missed` (the program did not run), `unsent` (its signal was refused), and
`outstanding` (the signal was sent, but no stop was taken: the task blocked SIGTRAP).
"""

from __future__ import annotations

import enum
import itertools
import signal
import threading
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Self

from relive.conditions import ir
from relive.conditions.kernel import abi, layout, lower_bpf, uprobe
from relive.conditions.kernel.layout import NEVER, Told, Why
from relive.conditions.kernel.lower_bpf import Collecting, Deliver, Full, Lowered
from relive.conditions.kernel.perf import Access, Event, Inherit, SampleFields
from relive.conditions.kernel.ring import Record, Ring

if TYPE_CHECKING:
    from types import TracebackType

    from relive.conditions.kernel.bpf import Program
    from relive.conditions.kernel.programs import Programs

__all__ = [
    "NEVER",
    "Access",
    "BreakpointSite",
    "Collecting",
    "Counts",
    "Full",
    "Inherit",
    "KernelSite",
    "Notify",
    "Record",
    "Told",
    "UprobeSite",
    "Why",
]

_cookies = itertools.count(0x7E11_0000_0000_0001)


class Notify(enum.Enum):
    """How a task is stopped at a hit that was let through.

    SIGTRAP: perf sends it, with the site's cookie.  Needs Linux 6.10: before, the program's 0
    suppressed the sample only.  Lost when the task blocks SIGTRAP.
    FD: SIGSTOP by the event's file descriptor, which can't be blocked.  Needs Linux 6.10 too.
    PROGRAM: the program sends a signal to the thread (bpf_send_signal_thread, Linux 5.5).
    """

    SIGTRAP = enum.auto()
    FD = enum.auto()
    PROGRAM = enum.auto()


class Counts(NamedTuple):
    """What happened at a site since it was armed.

    hits: executions the program saw.  candidates, undecided: of these.  lost: candidates that
    found the ring full (Full.DROP).  unsent: signals the kernel refused to send.  missed:
    executions that the event counted and the program did not see.  outstanding: hits that were
    let through and of which no stop was taken yet.
    """

    hits: int
    candidates: int
    undecided: int
    lost: int
    unsent: int
    missed: int
    outstanding: int

    @property
    def rejected(self) -> int:
        """Hits that did not satisfy the condition."""
        return self.hits - self.candidates - self.undecided


class KernelSite(ABC):
    """What sites of breakpoints and of uprobes have in common: the program and its values.

    programs: where programs come from.  condition: not 0 for candidates.
    collect: candidates append values to the ring.
    stop_at: let candidates from this number on through; NEVER for none, which is what a
    collecting site does if not told.
    signal_number: what the program sends, when it does.
    Raises CannotLower when the condition does not fit a program, BpfRefused when the kernel
    does not take it.
    """

    kind = abi.BPF_PROG_TYPE_PERF_EVENT

    def __init__(
        self,
        programs: Programs,
        address: int,
        condition: ir.Expr,
        *,
        deliver: Deliver,
        collect: Collecting | None = None,
        stop_at: int | None = None,
        signal_number: int = signal.SIGTRAP,
    ) -> None:
        self.address = address
        self.cookie = next(_cookies)
        self.collect = collect
        self._programs = programs
        self._deliver = deliver
        self.stop_at = (NEVER if collect else 1) if stop_at is None else stop_at
        self._signal = signal_number
        self._ring: Ring | None = None
        self._taken = 0
        self._program: Program | None = self._arm(self._lower(condition))
        if collect and self._program.ring_fd is not None:
            try:
                self._ring = Ring(self._program.ring_fd, collect.ring_size, len(collect.values))
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def program(self) -> Program:
        """The loaded program."""
        assert self._program is not None, "the site is closed"
        return self._program

    def _lower(self, condition: ir.Expr) -> Lowered:
        return lower_bpf.lower(
            condition,
            kind=self.kind,
            deliver=self._deliver,
            collect=self.collect,
            own_pid_namespace=self._programs.namespace is not None,
        )

    def _arm(self, lowered: Lowered) -> Program:
        program = self._programs.take(lowered.code)
        self._fill(program, lowered)
        return program

    def _fill(self, program: Program, lowered: Lowered) -> None:
        program.values[layout.MUTED] = 0
        program.values[layout.STOP_AT] = self.stop_at
        program.values[layout.SIGNAL] = self._signal
        self._n_constants = len(lowered.constants)
        for word, value in enumerate(lowered.constants, layout.CONSTANTS):
            program.values[word] = value

    def set_condition(self, condition: ir.Expr) -> None:
        """Another condition from now on; counters start again.

        No task may run over the site meanwhile.  One that differs from the last in constants
        only costs nothing but writing them.  Raises as the constructor.
        """
        lowered = self._lower(condition)
        if lowered.code == self.program.code:
            self.reset()
            self._fill(self.program, lowered)
            return
        if self.collect:
            raise ValueError("the condition of a collecting site changes in constants only")
        old, self._program = self.program, self._arm(lowered)
        self._reattach()
        self._programs.give_back(old)
        self._restart_counts()

    @property
    def constants(self) -> list[int]:
        """The constants of the condition, and of the values to collect, in the program's order."""
        values = self.program.values
        return list(values[layout.CONSTANTS : layout.CONSTANTS + self._n_constants])

    def set_constants(self, constants: Sequence[int]) -> None:
        """Others in their places: `set_condition` for who knows their order, in microseconds.

        The counters go on.  No task may run over the site meanwhile.
        """
        if len(constants) != self._n_constants:
            raise ValueError(f"the condition has {self._n_constants} constants")
        for word, value in enumerate(constants, layout.CONSTANTS):
            self.program.values[word] = value

    def set_stop_at(self, number: int) -> None:
        """Let candidates from this number on through; NEVER for none."""
        self.stop_at = number
        self.program.values[layout.STOP_AT] = number

    def reset(self) -> None:
        """Start counting again at 0.  No task may run over the site meanwhile."""
        layout.reset(self.program.values)
        self._restart_counts()

    def take_stop(self, tid: int) -> Told | None:
        """Which hit the stopped task `tid` is at, told once.

        Why.COLLECT: drain, and collect this hit's values from the stopped task.
        None when the program let nothing of this task through (the stop is not this site's), or
        when more than 8 tasks had stopped and not been asked about.
        """
        told = layout.take_slot(self.program.values, tid)
        if told:
            self._taken += 1
        return told

    def drain(self) -> list[Record]:
        """The records collected so far; to be called often enough for the ring to have room."""
        return self._ring.drain() if self._ring else []

    def columns(self) -> tuple[array[int], array[int], tuple[array[int], ...]] | None:
        """The same as columns: tasks, hits, each value; None when there are none."""
        return self._ring.columns() if self._ring else None

    def drain_bytes(self) -> bytes:
        """The same as raw bytes: records of u32 length, u32, u32 tid, u32, u64 hit, u64 values."""
        return self._ring.drain_bytes() if self._ring else b""

    def counts(self) -> Counts:
        """What happened so far; exact when no task runs."""
        values = self.program.values
        # In this order, so that no counter is ahead of `hits` while tasks run.
        seen = self._seen()
        told, unsent, lost = values[layout.TOLD], values[layout.UNSENT], values[layout.LOST]
        undecided, candidates = values[layout.UNDECIDED], values[layout.CANDIDATES]
        hits = values[layout.HITS]
        return Counts(
            hits,
            candidates,
            undecided,
            lost,
            unsent,
            0 if seen is None else max(0, seen - hits),
            told - self._taken,
        )

    def close(self) -> None:
        """Disarm: the events go, the program is kept for another site."""
        if self._program is None:
            return
        self._detach_all()
        if self._ring:
            self._ring.close()
            self._ring = None
        self._programs.give_back(self._program)
        self._program = None

    def _restart_counts(self) -> None:
        self._taken = 0

    @abstractmethod
    def _seen(self) -> int | None:
        """Hits that the kernel counted, rejected ones included; None when it does not."""

    @abstractmethod
    def _reattach(self) -> None:
        """Gives the events the program that `program` is now."""

    @abstractmethod
    def _detach_all(self) -> None:
        """Closes all events."""


class BreakpointSite(KernelSite):
    """A hardware breakpoint or watchpoint, with a program that decides its hits.

    access, length: what triggers, as for Event.breakpoint.  A WRITE site stops after the
    writing instruction.
    inherit: whether threads (processes) that an attached thread makes are attached by themselves;
    not with Notify.FD, whose signals go to one thread.
    """

    def __init__(
        self,
        programs: Programs,
        address: int,
        condition: ir.Expr = ir.TRUE,
        *,
        access: Access = Access.EXECUTE,
        length: int = 8,
        notify: Notify = Notify.SIGTRAP,
        inherit: Inherit = Inherit.NONE,
        collect: Collecting | None = None,
        stop_at: int | None = None,
        samples: SampleFields | None = None,
        signal_number: int = signal.SIGTRAP,
    ) -> None:
        if notify is Notify.FD and inherit is not Inherit.NONE:
            raise ValueError("the signal of a file descriptor goes to one thread")
        self.access = access
        self.length = length
        self.notify = notify
        self._inherit = inherit
        self._samples = samples
        self.events: dict[int, Event] = {}
        self._gone = 0  # hits counted by events that are closed
        self._base = 0  # of these and those of `events`, before the counters were reset
        super().__init__(
            programs,
            address,
            condition,
            deliver=Deliver.SIGNAL if notify is Notify.PROGRAM else Deliver.RETURN,
            collect=collect,
            stop_at=stop_at,
            signal_number=signal_number,
        )

    def attach(self, tid: int, notify: Notify | None = None) -> None:
        """Arm the site in a thread.

        notify: SIGTRAP or FD for this thread, where the site's is one of them.
        Raises OSError as Event.breakpoint does.
        """
        notify = notify or self.notify
        assert (notify is Notify.PROGRAM) == (self.notify is Notify.PROGRAM)
        event = Event.breakpoint(
            tid,
            self.address,
            self.access,
            self.length,
            sigtrap=notify is Notify.SIGTRAP,
            cookie=self.cookie,
            inherit=self._inherit,
            samples=self._samples,
        )
        try:
            if notify is Notify.FD:
                event.signal_by_fd(signal.SIGSTOP)
            event.set_program(self.program.fd)
            event.enable()
        except BaseException:
            event.close()
            raise
        self.detach(tid)
        self.events[tid] = event

    def detach(self, tid: int) -> None:
        """Disarm the site in a thread; nothing when it is not armed there."""
        event = self.events.pop(tid, None)
        if event:
            self._gone += event.count()
            event.close()

    def forget(self, tid: int) -> None:
        """As `detach`, for a thread that is gone or made another program run (exec)."""
        self.detach(tid)

    def move(self, address: int) -> None:
        """Watch another address with the same program, in all threads; the counters go on.

        Raises OSError; the threads before the failing one are then moved, the others not.
        """
        for event in self.events.values():
            event.move(address)
        self.address = address

    def event_of(self, fd: int) -> Event | None:
        """The event with this file descriptor (perf.signal_fd of a stop)."""
        return next((event for event in self.events.values() if event.fd == fd), None)

    def _total(self) -> int:
        return self._gone + sum(event.count() for event in self.events.values())

    def _seen(self) -> int | None:
        return self._total() - self._base

    def _restart_counts(self) -> None:
        super()._restart_counts()
        self._base = self._total()

    def _reattach(self) -> None:
        for tid in list(self.events):
            self.detach(tid)
            self.attach(tid)

    def _detach_all(self) -> None:
        for tid in list(self.events):
            self.detach(tid)


class UprobeSite(KernelSite):
    """A uprobe at an instruction that the kernel emulates; root or CAP_PERFMON.

    One event a process serves all its threads.  A candidate stops the thread after the
    instruction; `before` gives its registers as they were at the site.  The stop is a plain
    signal (si_code SI_KERNEL): `take_stop` says whether it is this site's.
    pid: the process.  code: the bytes at the address (of the program, not of a debugger).
    Raises ValueError for an instruction that is not emulated or has no file.
    """

    kind = abi.BPF_PROG_TYPE_KPROBE

    def __init__(
        self,
        programs: Programs,
        pid: int,
        address: int,
        code: bytes,
        condition: ir.Expr = ir.TRUE,
        *,
        collect: Collecting | None = None,
        stop_at: int | None = None,
        signal_number: int = signal.SIGTRAP,
    ) -> None:
        instruction = uprobe.emulated(code)
        if instruction is None:
            raise ValueError("the kernel does not emulate this instruction")
        place = uprobe.locate(pid, address)
        if place is None:
            raise ValueError(f"no file is mapped executable at {address:#x}")
        self.pid = pid
        self.instruction = instruction
        self.place = place
        self._event: Event | None = None
        super().__init__(
            programs,
            address,
            condition,
            deliver=Deliver.SIGNAL,
            collect=collect,
            stop_at=stop_at,
            signal_number=signal_number,
        )

    def attach(self) -> None:
        """Arm; takes 10 to 20 ms.  Raises OSError as uprobe.open_event does."""
        event = uprobe.open_event(self.pid, self.place)
        try:
            event.set_program(self.program.fd)
            event.enable()
        except BaseException:
            event.close()
            raise
        self._event = event

    def before(self, regs: tuple[int, ...]) -> tuple[int, ...]:
        """The registers at the site, from those of a task stopped after it."""
        return uprobe.before(regs, self.address, self.instruction)

    def close_later(self) -> Callable[[], None]:
        """Disarm now, and take the probe out in a thread; what is returned waits for that."""
        event, self._event = self._event, None
        if event is None:
            self.close()
            return lambda: None
        # A disabled event still runs the program.
        self.program.values[layout.MUTED] = 1
        thread = threading.Thread(target=self._close, args=(event,), name="relive-uprobe")
        thread.start()
        return thread.join

    def _close(self, event: Event) -> None:
        event.close()
        self.close()

    def _seen(self) -> int | None:
        return None  # the event counts what the program let through only

    def _reattach(self) -> None:
        self._detach_all()
        self.attach()

    def _detach_all(self) -> None:
        if self._event:
            self._event.close()
            self._event = None
