"""Programs by shape: each loaded once, used by one site at a time, and kept for the next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from relive.conditions.kernel import layout
from relive.conditions.kernel.bpf import Code, DirectLoader, Loader, Program

if TYPE_CHECKING:
    from types import TracebackType

#: inode of the first pid namespace, PROC_PID_INIT_INO of the kernel
_FIRST_PID_NAMESPACE: Final = 0xEFFFFFFC

KEPT: Final = 64
"""Programs that are kept though no site uses them."""


def pid_namespace() -> tuple[int, int] | None:
    """Device and inode of this process's pid namespace; None when it is the first one."""
    try:
        status = Path("/proc/self/ns/pid").stat()
    except OSError:
        return None
    return None if status.st_ino == _FIRST_PID_NAMESPACE else (status.st_dev, status.st_ino)


class Programs:
    """Loaded programs, by what they are; `close` it, or use it in a `with` block.

    loader: who loads them (None: this process).  loads: how many were loaded so far.
    """

    def __init__(self, loader: Loader | None = None) -> None:
        self.loader: Loader = loader or DirectLoader()
        self.namespace = pid_namespace()
        self.loads = 0
        self._free: dict[Code, list[Program]] = {}
        self._kept = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def take(self, code: Code) -> Program:
        """A program for one site, all its counters 0.  Raises BpfRefused."""
        waiting = self._free.get(code)
        if waiting:
            self._kept -= 1
            return waiting.pop()
        program = Program(code, self.loader)
        self.loads += 1
        if self.namespace:
            device, inode = self.namespace
            program.values[layout.NS_DEVICE] = device
            program.values[layout.NS_INODE] = inode
        return program

    def give_back(self, program: Program) -> None:
        """No event has the program any more."""
        if self._kept >= KEPT or program.ring_fd is not None:
            program.close()
            return
        layout.reset(program.values)
        self._free.setdefault(program.code, []).append(program)
        self._kept += 1

    def close(self) -> None:
        """Close those that no site uses."""
        for programs in self._free.values():
            for program in programs:
                program.close()
        self._free.clear()
        self._kept = 0
