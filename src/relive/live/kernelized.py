"""Sites decided in the kernel: hardware breakpoints with BPF programs, and uprobes."""

from __future__ import annotations

import signal
from array import array
from typing import TYPE_CHECKING, Final

from relive.conditions import kernel
from relive.conditions.kernel import machine
from relive.conditions.kernel.bpf import BpfRefused
from relive.conditions.kernel.helper import best_loader
from relive.conditions.kernel.lower_bpf import CannotLower
from relive.conditions.kernel.programs import Programs
from relive.conditions.kernel.site import (
    NEVER,
    BreakpointSite,
    Collecting,
    Full,
    Inherit,
    KernelSite,
    Notify,
    UprobeSite,
)
from relive.conditions.kernel.site import Access as PerfAccess
from relive.live.facts import Counts
from relive.live.request import Access, EvaluatorName

if TYPE_CHECKING:
    from relive.conditions.kernel.layout import Told
    from relive.live.process import Process
    from relive.live.site import Wanted

SIGNAL: Final = signal.SIGSTOP
"""What programs send: it can't be blocked, and its code says that the kernel sent it."""

_ACCESS: Final = {
    Access.EXECUTE: PerfAccess.EXECUTE,
    Access.WRITE: PerfAccess.WRITE,
    Access.ACCESS: PerfAccess.READ_WRITE,
}


class Kernelized:
    """A site whose program runs in the kernel.

    decided_rejected, decided_candidates: hits that the kernel left undecided (a page that is not
    in memory), and what the supervisor made of them.
    """

    name: EvaluatorName

    def __init__(self, process: Process, wanted: Wanted, site: KernelSite) -> None:
        self.process = process
        self.wanted = wanted
        self.site = site
        self.decided_rejected = 0
        self.decided_candidates = 0
        self._last: Counts | None = None

    def counts(self) -> Counts:
        if self._last is not None:
            return self._last
        told = self.site.counts()
        decided = self.decided_rejected + self.decided_candidates
        return Counts(
            told.hits + told.missed,
            told.candidates + self.decided_candidates,
            told.rejected + self.decided_rejected,
            # a hit that the program missed was not decided by anybody
            told.undecided - decided + told.missed,
            told.lost,
        )

    def disarm(self) -> None:
        if self._last is None:
            self._last = self.counts()
            self.site.close()

    def take_stop(self, tid: int) -> Told | None:
        """Which hit of this site the thread stopped at; None when it is not at one."""
        return None if self._last is not None else self.site.take_stop(tid)

    def registers_at(self, registers: tuple[int, ...]) -> tuple[int, ...]:
        """The registers at the site, from those of the stopped thread."""
        return registers

    def columns(self) -> tuple[array[int], array[int], tuple[array[int], ...]] | None:
        """What was collected since: threads, hits, each value."""
        return None if self._last is not None else self.site.columns()


class BreakpointMechanism(Kernelized):
    """A hardware breakpoint or watchpoint."""

    name: EvaluatorName = "kernel"


class UprobeMechanism(Kernelized):
    """A uprobe; the thread stops behind the instruction."""

    name: EvaluatorName = "uprobe"

    def registers_at(self, registers: tuple[int, ...]) -> tuple[int, ...]:
        assert isinstance(self.site, UprobeSite)
        return self.site.before(registers)

    def disarm(self) -> None:
        if self._last is None:
            self._last = self.counts()
            assert isinstance(self.site, UprobeSite)
            # Taking a probe out takes tens of milliseconds, without anybody waiting for it.
            self.process.closing.append(self.site.close_later())


def programs() -> Programs:
    """Where a session's programs come from."""
    return Programs(best_loader())


def _collecting(wanted: Wanted) -> Collecting | None:
    if not wanted.appended:
        return None
    lose = wanted.request.action.full == "lose"
    return Collecting(wanted.appended, Full.DROP if lose else Full.WAIT)


def _stop_at(wanted: Wanted) -> int:
    return wanted.stop_at if wanted.stops else NEVER


def arm_breakpoint(process: Process, wanted: Wanted, programs: Programs) -> Kernelized | str:
    """Arm in all threads of the process; or why it can't be.  The session is paused."""
    why = kernel.supports(wanted.decided, wanted.appended)
    if why:
        return why
    request = wanted.request
    execute = request.access is Access.EXECUTE
    if not execute and wanted.address % request.size:
        return f"{request.size} bytes are watched at a multiple of {request.size} only"
    try:
        way = machine.way(programs.loader)
        site = BreakpointSite(
            programs,
            wanted.address,
            wanted.decided,
            access=_ACCESS[request.access],
            length=8 if execute else request.size,
            notify=way,
            inherit=Inherit.THREADS,
            collect=_collecting(wanted),
            stop_at=_stop_at(wanted),
            signal_number=SIGNAL,
        )
    except (BpfRefused, CannotLower, OSError) as error:
        return str(error)
    try:
        for tid in process.threads():
            if way is Notify.SIGTRAP and machine.blocks_sigtrap(tid):
                raise OSError(f"thread {tid} blocks SIGTRAP")
            site.attach(tid)
    except OSError as error:
        site.close()
        return "all 4 debug registers are in use" if error.errno == 28 else str(error)
    return BreakpointMechanism(process, wanted, site)


def arm_uprobe(process: Process, wanted: Wanted, programs: Programs) -> Kernelized | str:
    """Arm a uprobe; or why it can't be."""
    if wanted.request.access is not Access.EXECUTE:
        return "it watches code, not data"
    try:
        code = process.read_code(wanted.address)
        why = kernel.uprobe_supports(
            wanted.decided, process.pid, wanted.address, code, wanted.appended
        )
        if why:
            return why
        site = UprobeSite(
            programs,
            process.pid,
            wanted.address,
            code,
            wanted.decided,
            collect=_collecting(wanted),
            stop_at=_stop_at(wanted),
            signal_number=SIGNAL,
        )
    except (BpfRefused, CannotLower, OSError, ValueError) as error:
        return str(error)
    try:
        site.attach()
    except OSError as error:
        site.close()
        return str(error)
    return UprobeMechanism(process, wanted, site)


__all__ = ["BreakpointMechanism", "Kernelized", "UprobeMechanism", "arm_breakpoint", "arm_uprobe"]
