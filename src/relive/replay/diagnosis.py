"""A divergence in words."""

from __future__ import annotations

import os
import signal

from relive import _core
from relive.arch.x86_64 import REGISTERS
from relive.errors import DivergenceError
from relive.syscalls.table import name_of
from relive.tracee.maps import read_maps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relive.replay.search.result import Overshot
    from relive.replay.session import Session
    from relive.replay.tasks import Task


def _call(nr: int) -> str:
    return f"system call {name_of(nr)}" if nr < 1 << 32 else "no system call"


def _stop(status: int) -> str:
    if os.WIFEXITED(status):
        return f"its exit with status {os.WEXITSTATUS(status)}"
    if os.WIFSIGNALED(status):
        return f"its death by {_signal(os.WTERMSIG(status))}"
    return _signal_stop(status >> 8 & 0xFF)


def _signal(signo: int) -> str:
    try:
        return signal.Signals(signo).name
    except ValueError:
        return f"signal {signo}"


def _signal_stop(signo: int) -> str:
    return "a system call" if signo == signal.SIGTRAP | 0x80 else _signal(signo)


def nothing_in(ns: int) -> str:
    """A task that came to no stop, and the processor time it had."""
    return f"no end of an interval after {ns / 1e9:.1f} s of processor time"


def place(tid: int, address: int) -> str:
    """`name+offset` of the mapping that an address is in, or ""."""
    try:
        for m in read_maps(tid):
            if m.start <= address < m.end and m.name:
                return f"{os.path.basename(m.name)}+{address - m.start + m.offset:#x}"
    except OSError:
        pass
    return ""


def overshot(session: Session, event: int, task: Task, e: Overshot) -> DivergenceError:
    """A landmark was not found before the task's next stop."""
    rip = session.core.logged_regs(task.serial)[16]
    at = place(task.tid, rip) or hex(rip)
    lost = session.core.lost()
    came = f"{nothing_in(lost)}," if lost else f"{_stop(e.status)} first,"
    closest = ""
    if e.closest is not None:
        closest = f"; the closest was hit {e.closest.hit}: {e.closest}"
    return DivergenceError(
        event,
        f"the recorded state at {at}",
        f"{came} after {e.found.hits} hits and {e.found.candidates}"
        f" with the same registers{closest}",
        rip,
        task=task.serial,
    )


def divergence(session: Session, event: int, serial: int) -> DivergenceError:
    """What the core found, as an error."""
    what, index, expected, found, rip = session.core.divergence()
    words: tuple[str, str]
    if what == _core.DIV_REGS:
        name = REGISTERS[index].name if index < len(REGISTERS) else str(index)
        words = f"{name} = {expected:#x}", f"{name} = {found:#x}"
    elif what == _core.DIV_CALL:
        words = _call(expected), _call(found)
    elif what == _core.DIV_INPUT:
        words = (
            f"the bytes that were recorded for argument {index + 1} of the call",
            "other bytes there",
        )
    elif what == _core.DIV_LOST:
        words = _signal_stop(expected & 0xFF), nothing_in(found)
    elif what in (_core.DIV_STOP, _core.DIV_GONE):
        words = _signal_stop(expected & 0xFF), _stop(found)
    elif what == _core.DIV_MEMORY:
        words = f"memory at {found:#x}", "none"
    elif what == _core.DIV_INSTRUCTION:
        words = "an instruction that reads the time-stamp counter", "another one"
    else:
        words = f"task {expected}", "no such task"
    task = session.tasks.get(serial)
    where = place(task.tid, rip) if task is not None and rip else ""
    return DivergenceError(event, words[0], words[1], rip or None, task=serial or None, where=where)
