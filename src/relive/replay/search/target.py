"""A replayed address space as the patcher sees it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from relive import _core
from relive.arch import x86_64
from relive.tracee.maps import Mapping, read_maps

if TYPE_CHECKING:
    from relive.replay.session import Session
    from relive.replay.tasks import Space, Task
    from relive.tracee.patching.target import Registers

_STACK_ROOM: Final = 64 << 20


class ReplayTarget:
    """A replayed address space, for the patcher."""

    def __init__(self, session: Session, space: Space) -> None:
        self._session = session
        self._space = space

    def _tasks(self) -> Iterator[Task]:
        for task in self._session.tasks.values():
            if task.space is self._space and not task.ended:
                yield task

    @property
    def pid(self) -> int:
        return next(self._tasks()).tid

    def _fd(self) -> int:
        return self._session.core.mem_fd(next(self._tasks()).serial)

    def read(self, addr: int, size: int) -> bytes:
        data = os.pread(self._fd(), size, addr)
        if len(data) != size:
            raise OSError(14, "Bad address")
        return data

    def write(self, addr: int, data: bytes) -> None:
        os.pwrite(self._fd(), data, addr)

    def maps(self) -> Sequence[Mapping]:
        """With the heap named, which a replay maps itself: room is left behind it."""
        found = read_maps(self.pid)
        heap = self._space.brk
        for m in found:
            if m.start < heap <= m.end and not m.name:
                m.name = "[heap]"
        return found

    def syscall(self, nr: int, *args: int) -> int:
        return _core.remote(self.pid, nr, *args)

    def threads(self) -> Iterable[int]:
        return [t.tid for t in self._tasks()]

    def get_registers(self, tid: int) -> tuple[int, ...]:
        return _core.getregs(tid)

    def set_registers(self, tid: int, registers: Registers) -> None:
        _core.setregs(tid, registers)

    def usable(self, start: int, end: int) -> bool:
        """Anywhere but where the stack grows. The recording may map something there later: then
        the stubs are given up (Session.code_moves); nothing jumps to them between searches."""
        user = [m for m in self.maps() if m.start < x86_64.USER_SPACE_END]
        return not user[-1].start - _STACK_ROOM < end <= user[-1].start
