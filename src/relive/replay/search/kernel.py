"""Hits decided in the kernel: a hardware breakpoint or a uprobe, and a BPF program.

The program compares registers, flags and the words that refinement found; their values lie in a
map that is shared with it (relive.conditions.kernel).  A rejected hit costs 10 to 25 µs at a
breakpoint, which serves any code, and 0.6 µs at a uprobe, which needs an instruction that the
kernel emulates, in a file's mapping.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from relive import _core
from relive.conditions import ir
from relive.conditions.kernel import machine, uprobe
from relive.conditions.kernel.bpf import BpfRefused
from relive.conditions.kernel.layout import MUTED
from relive.conditions.kernel.lower_bpf import CannotLower
from relive.conditions.kernel.site import BreakpointSite, Inherit, KernelSite, UprobeSite
from relive.conditions.kernel.uprobe import Kind
from relive.replay.search.landmark import (
    EFLAGS,
    GENERAL,
    INDEX,
    MAX_WORDS,
    TRACING,
    Landmark,
    Verdict,
)
from relive.replay.search.result import CannotSearch

if TYPE_CHECKING:
    from relive.conditions.kernel.programs import Programs

_RSP: Final = INDEX["rsp"]
_CODE: Final = 16
_NEVER: Final = (1 << 64) - 1
"""A value that flags don't have."""


def condition(mark: Landmark, number: int = 0) -> ir.Expr:
    """Registers, flags and the words known so far have their recorded values; or, with a number, it
    is that hit.  Always of the same shape, so that one program serves all."""
    flags = _NEVER if number else mark.regs[EFLAGS] & ~TRACING

    def parts() -> Iterator[ir.Expr]:
        words = [*mark.words.items()]
        # An address of 0 stands for none.
        for address, value in [*words, *[(0, 0)] * (MAX_WORDS - len(words))]:
            none = ir.Binary("eq", ir.Const(address), ir.Const(0))
            same = ir.Binary("eq", ir.Load(ir.Const(address), 8), ir.Const(value))
            yield ir.Logic("or", none, same)
        yield ir.Binary("eq", ir.Reg(EFLAGS), ir.Const(flags))
        for name in reversed(GENERAL):
            yield ir.Binary("eq", ir.reg(name), ir.Const(mark.regs[INDEX[name]]))

    whole: ir.Expr | None = None
    for part in parts():
        whole = part if whole is None else ir.Logic("and", part, whole)
    assert whole is not None
    return ir.Logic("or", ir.Binary("eq", ir.Hits(), ir.Const(number)), whole)


class Kernel:
    """What sites of breakpoints and uprobes have in common; see `evaluator.Armed`."""

    name = "kernel"

    def __init__(self, mark: Landmark, site: KernelSite) -> None:
        self._mark = mark
        self._kernel_site = site
        self._before = 0  # hits before the condition was changed

    def next(self) -> int | None:
        tid = self._mark.task.tid
        status = self._mark.core.advance(self._mark.task.serial)
        trapped = os.WIFSTOPPED(status) and os.WSTOPSIG(status) == signal.SIGTRAP
        if trapped and not status >> 16 and self._kernel_site.take_stop(tid) is not None:
            return None  # also one that the kernel could not decide: it is compared as a whole
        return status

    def hits(self) -> int:
        counts = self._kernel_site.counts()
        return self._before + counts.hits + counts.missed

    def registers(self) -> Sequence[int]:
        return _core.getregs(self._mark.task.tid)

    def judge(self, mark: Landmark) -> Verdict:
        return mark.judge(self.registers(), mark.before + self.hits())

    def refine(self, mark: Landmark, new: list[tuple[int, int]]) -> None:
        self._set(condition(mark))

    def _set(self, wanted: ir.Expr) -> None:
        self._before = self.hits()
        try:
            self._kernel_site.set_condition(wanted)
        except (BpfRefused, CannotLower) as e:
            raise CannotSearch(str(e)) from e

    def stop_at(self, number: int) -> None:
        """Lets nothing through but the hit of that number, from 1, of those from now on."""
        self._set(condition(self._mark, number))
        self._before = 0

    def refine_extended(self, mark: Landmark) -> bool:
        return False

    def reject(self) -> None:
        pass

    def arrive(self) -> None:
        pass

    def disarm(self) -> None:
        self._kernel_site.close()


class Breakpoint(Kernel):
    """A hardware breakpoint: stops before the instruction."""

    def __init__(self, mark: Landmark, programs: Programs) -> None:
        tid = mark.task.tid
        why = machine.missing(programs.loader)
        if why is None and machine.blocks_sigtrap(tid):
            why = "the task blocks SIGTRAP"
        if why is not None:
            raise CannotSearch(why)
        mark.core.hit_at_once(mark.task.serial, mark.address)
        try:
            site = BreakpointSite(
                programs,
                mark.address,
                condition(mark),
                notify=machine.way(programs.loader),
                inherit=Inherit.NONE,
                signal_number=signal.SIGTRAP,
            )
        except (BpfRefused, CannotLower) as e:
            raise CannotSearch(str(e)) from e
        super().__init__(mark, site)
        try:
            site.attach(tid)
        except OSError as e:
            site.close()
            slots = "all debug registers are in use"
            raise CannotSearch(slots if e.errno == 28 else str(e)) from e


class Uprobe(Kernel):
    """A uprobe: stops after the instruction, which the registers as they were undo.

    What push and call write below the stack pointer is not compared: at the landmark it is what
    was recorded, and the instruction writes it again.
    """

    name = "uprobe"

    def __init__(self, mark: Landmark, probes: Uprobes) -> None:
        self._probe = probes.get(mark)
        super().__init__(mark, self._probe)
        self._fd: int = mark.core.mem_fd(mark.task.serial)
        self._probe.reset()
        self._set(condition(mark))
        self._before = 0
        self._probe.program.values[MUTED] = 0

    def count_to(self, number: int) -> int | None:
        """Brings the task to the hit of that number, from 1, of those that it sees from now on,
        nothing of it executed: None, or the wait status of another stop."""
        self.stop_at(number)
        other = self.next()
        if other is None:
            slot = self._overwritten()
            if slot is not None:
                self._restore(slot)
            self.arrive()
        else:
            self._mark.before += self.hits()
        return other

    def registers(self) -> Sequence[int]:
        return self._probe.before(_core.getregs(self._mark.task.tid))

    def _overwritten(self) -> int | None:
        """The address of the word that the instruction has overwritten."""
        if self._probe.instruction.kind not in (Kind.PUSH, Kind.CALL):
            return None
        return self.registers()[_RSP] - 8

    def _restore(self, slot: int) -> bytes:
        """Puts the recorded word there, if the sample has it; what was there."""
        now = os.pread(self._fd, 8, slot)
        recorded = self._mark.core.sample_word(slot)
        if recorded is not None:
            os.pwrite(self._fd, recorded.to_bytes(8, "little"), slot)
        return now

    def judge(self, mark: Landmark) -> Verdict:
        slot = self._overwritten()
        if slot is None:
            return super().judge(mark)
        now = self._restore(slot)
        verdict = super().judge(mark)
        if verdict is not Verdict.ARRIVED:
            os.pwrite(self._fd, now, slot)
        return verdict

    def arrive(self) -> None:
        _core.setregs(self._mark.task.tid, self.registers())

    def disarm(self) -> None:
        self._probe.program.values[MUTED] = 1


class Uprobes:
    """Uprobes that are in place, muted unless a search is on: opening one takes tens of
    milliseconds, and closing too, so the next landmark at the same place finds it there."""

    _KEPT: Final = 8

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self._sites: dict[tuple[int, int], UprobeSite] = {}  # by process and address
        self._waiting: list[Callable[[], None]] = []  # for those being closed

    def get(self, mark: Landmark) -> UprobeSite:
        """The one for a landmark, muted.  Raises CannotSearch."""
        key = mark.task.tgid, mark.address
        site = self._sites.pop(key, None)
        if site is None:
            site = self._open(mark)
        self._sites[key] = site
        if len(self._sites) > self._KEPT:
            self._close(next(iter(self._sites)))
        return site

    def _open(self, mark: Landmark) -> UprobeSite:
        why = uprobe.missing() or machine.programs_missing()
        if why is not None:
            raise CannotSearch(why)
        try:
            code = os.pread(mark.core.mem_fd(mark.task.serial), _CODE, mark.address)
            site = UprobeSite(
                self._programs,
                mark.task.tgid,
                mark.address,
                code,
                condition(mark),
                stop_at=1,
                signal_number=signal.SIGTRAP,
            )
        except (BpfRefused, CannotLower, ValueError, OSError) as e:
            raise CannotSearch(str(e)) from e
        site.program.values[MUTED] = 1
        try:
            site.attach()
        except OSError as e:
            site.close()
            raise CannotSearch(str(e)) from e
        return site

    def forget(self, start: int, end: int) -> None:
        """Mappings change there."""
        for key in [k for k in self._sites if start <= k[1] < end]:
            self._close(key)

    def _close(self, key: tuple[int, int]) -> None:
        self._waiting.append(self._sites.pop(key).close_later())

    def close(self) -> None:
        for key in list(self._sites):
            self._close(key)
        for wait in self._waiting:
            wait()
        self._waiting.clear()
