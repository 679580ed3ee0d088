"""Going back to the beginning of an interval.

Only one task runs in an interval, and none of its system calls is executed in a replay. So what an
interval changes is that task's registers and extended state, the private memory of its process, and
memory that it shares: a copy of these brings it back. The private memory is copied by a fork, which
costs as much as the pages written afterwards.

Checkpoints are taken where an interval has to be searched more than once (replay/retry.py).
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final

from relive import _core
from relive.tracee.maps import PROT_WRITE, read_maps

if TYPE_CHECKING:
    from relive.replay.session import Session
    from relive.replay.tasks import Task

_SYS_CLONE: Final = 56
_CLONE_PARENT: Final = 0x8000
#: Flags of /proc/PID/smaps: a fork lacks the mapping, or has zeros there (proc(5), madvise(2)).
_NOT_COPIED: Final = {b"dc", b"wf"}


class CannotRewind(Exception):
    """No checkpoint can be taken of this task; the message says why."""


class Checkpoint:
    """A stopped task as it is now. Use it as a context manager."""

    def __init__(self, session: Session, task: Task) -> None:
        """Raises CannotRewind, OSError."""
        self._session = session
        self._task = task
        if mapping := _uncopied(task.tid):
            raise CannotRewind(f"the mapping {mapping} is not inherited by a fork")
        session.core.settle(task.serial)
        self._registers = _core.getregs(task.tid)
        self._xstate = _core.get_xstate(task.tid)
        self._shared = session.objects.copies()
        # A sibling (CLONE_PARENT) without an exit signal: this process reaps it, nobody is told.
        self._copy = _core.remote(task.tid, _SYS_CLONE, _CLONE_PARENT, 0, 0, 0, 0)
        if self._copy < 0:
            self._drop_shared()
            raise OSError(-self._copy, "can't fork a copy of the replayed process")
        self._copy_fd = -1
        try:
            _core.wait(self._copy)
            self._copy_fd = os.open(f"/proc/{self._copy}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def restore(self) -> int:
        """Brings the task back; the pages that had changed.  As often as you like.

        The task must be stopped in the interval that began at the checkpoint. Stubs in its
        memory are given up. Raises OSError.
        """
        task, session = self._task, self._session
        if task.space.searcher is not None:
            task.space.searcher.give_up()
            task.space.searcher = None
        fd = session.core.mem_fd(task.serial)
        pages = 0
        for m in read_maps(task.tid):
            if m.prot & PROT_WRITE and not m.shared:
                pages += _core.rewind_memory(task.tid, fd, self._copy_fd, m.start, m.size)
        for key, copy in self._shared.items():
            session.objects.fill(key, copy)
        _core.set_xstate(task.tid, self._xstate)
        _core.setregs(task.tid, self._registers)
        return pages

    def close(self) -> None:
        """Frees the copy."""
        if self._copy > 0:
            if self._copy_fd >= 0:
                os.close(self._copy_fd)
            os.kill(self._copy, signal.SIGKILL)
            _core.wait(self._copy)
            self._copy = 0
        self._drop_shared()

    def _drop_shared(self) -> None:
        for fd in self._shared.values():
            os.close(fd)
        self._shared = {}


def _uncopied(tid: int) -> str:
    """Address range of a mapping that a fork would not inherit as it is, or ""."""
    where = b""
    with open(f"/proc/{tid}/smaps", "rb") as smaps:
        for line in smaps:
            first = line.split(None, 1)[0]
            if b"-" in first:
                where = first
            elif first == b"VmFlags:" and _NOT_COPIED & set(line.split()[1:]):
                return where.decode()
    return ""
