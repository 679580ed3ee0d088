"""The replayed tasks: real threads and processes that stand for the recorded ones."""

from __future__ import annotations

import os
import signal

from relive import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relive.replay.search.sites import Sites
    from relive.replay.session import Session

_CLONE_VM, _CLONE_FS, _CLONE_FILES, _CLONE_SIGHAND = 0x100, 0x200, 0x400, 0x800
_CLONE_PARENT, _CLONE_THREAD, _CLONE_SYSVSEM = 0x8000, 0x10000, 0x40000
_SYS_CLONE, _SYS_EXIT = 56, 60
_SINGLE_THREAD_FLAGS = (
    _CLONE_VM | _CLONE_FS | _CLONE_FILES | _CLONE_SIGHAND | _CLONE_THREAD | _CLONE_SYSVSEM
)
_PTRACE_CONT = 7


class Space:
    """An address space: brk is where the program's heap ends, segments are the sizes of the
    System V segments attached, by address."""

    __slots__ = ("brk", "searcher", "segments")

    def __init__(self, brk: int = 0, segments: dict[int, int] | None = None) -> None:
        self.brk = brk
        self.segments: dict[int, int] = dict(segments or {})
        self.searcher: Sites | None = None  # what finds landmarks in it


class Task:
    """serial: as in the recording; tid, tgid: of the process that stands for it;
    was_tid, was_tgid: what the recorded one had."""

    __slots__ = ("ended", "serial", "space", "tgid", "tid", "was_tgid", "was_tid")

    def __init__(
        self, serial: int, tid: int, tgid: int, was_tid: int, was_tgid: int, space: Space
    ) -> None:
        self.serial = serial
        self.tid = tid
        self.tgid = tgid
        self.was_tid = was_tid
        self.was_tgid = was_tgid
        self.space = space
        self.ended = False


def create(session: Session, parent: Task, serial: int, extra: dict[str, int]) -> Task:
    """Makes the parent, which is in its clone, clone for real.

    The new process is a sibling (CLONE_PARENT), so that this process reaps it.
    """
    flags = extra["flags"]
    if flags & _CLONE_THREAD:
        wanted = _SINGLE_THREAD_FLAGS
    elif flags & _CLONE_VM:
        wanted = _CLONE_VM | _CLONE_PARENT
    else:
        wanted = _CLONE_PARENT
    tid = _core.remote(parent.tid, _SYS_CLONE, wanted, 0, 0, 0, 0)
    if tid < 0:
        raise OSError(-tid, f"can't make the process that stands for task {serial}")
    _core.wait(tid)
    tgid = parent.tgid if flags & _CLONE_THREAD else tid
    space = parent.space if flags & _CLONE_VM else Space(parent.space.brk, parent.space.segments)
    return Task(serial, tid, tgid, extra["tid"], extra["tgid"], space)


def end(session: Session, task: Task) -> None:
    """Ends the process or thread that stands for a task. A thread-group leader that
    ends before its threads stays, stopped, until the last of them."""
    task.ended = True
    group = [t for t in session.tasks.values() if t.tgid == task.tgid]
    if any(not t.ended for t in group):
        if task.tid != task.tgid:
            _exit_thread(task)
            del session.tasks[task.serial]
        return
    try:
        os.kill(task.tgid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    for t in sorted(group, key=lambda t: t.tid == t.tgid):
        _reap(t.tid)
        session.tasks.pop(t.serial, None)


def _exit_thread(task: Task) -> None:
    """Has the thread call exit; it never returns from it."""
    regs = list(_core.getregs(task.tid))
    regs[16], regs[10], regs[14], regs[15] = _core.AGENT_TEXT, _SYS_EXIT, 0, 2**64 - 1
    _core.setregs(task.tid, regs)
    _core.resume(task.tid, _PTRACE_CONT)
    _reap(task.tid)


def _reap(tid: int) -> None:
    try:
        while True:
            _, status = _core.wait(tid)
            if not os.WIFSTOPPED(status):
                return
            _core.resume(tid, _PTRACE_CONT)
    except (ChildProcessError, ProcessLookupError):
        return


def kill_all(session: Session) -> None:
    for tgid in {t.tgid for t in session.tasks.values()}:
        try:
            os.kill(tgid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    for t in sorted(session.tasks.values(), key=lambda t: t.tid == t.tgid):
        _reap(t.tid)
    session.tasks.clear()
