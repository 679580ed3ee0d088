"""A live process as code patching sees it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from relive import _core
from relive.tracee.maps import Mapping, read_maps

if TYPE_CHECKING:
    from relive.live.process import Process
    from relive.tracee.patching.target import Registers


class LiveTarget:
    """`relive.tracee.patching.Target` for one address space of a session.

    To be used while the session is paused (Session.paused).
    """

    def __init__(self, process: Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def read(self, addr: int, size: int) -> bytes:
        return self._process.core.read(self._process.space, addr, size)

    def write(self, addr: int, data: bytes) -> None:
        self._process.core.write(self._process.space, addr, data)

    def maps(self) -> Sequence[Mapping]:
        return read_maps(self._process.pid)

    def syscall(self, nr: int, *args: int) -> int:
        why = self._process.calls_refused()
        if why:
            raise OSError(errno.EPERM, why)
        for tid, _, space, callable_ in self._process.core.tasks():
            if space == self._process.space and callable_:
                try:
                    return self._process.core.call(tid, nr, *args)
                except OSError as error:
                    if error.errno not in (errno.ESRCH, errno.EBUSY):
                        raise
                    # killed, or stopped for something else: another thread may do it
        raise OSError(errno.ESRCH, os.strerror(errno.ESRCH))

    def threads(self) -> Iterable[int]:
        return self._process.threads()

    def get_registers(self, tid: int) -> tuple[int, ...]:
        return _core.getregs(tid)

    def set_registers(self, tid: int, registers: Registers) -> None:
        _core.setregs(tid, registers)

    def usable(self, start: int, end: int) -> bool:
        return True
