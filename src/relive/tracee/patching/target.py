"""What code patching asks of a process: memory, registers, mappings, a system call.

The same patcher works on a live process under ptrace and on a replayed one; whoever runs
the process implements `Target`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeAlias

from relive.tracee.maps import Mapping

Registers: TypeAlias = Sequence[int]
"""The 27 words of struct user_regs_struct, in its order (relive.arch.x86_64.REGISTERS)."""


class Target(Protocol):
    """One address space and the tasks that run in it.

    Patching takes place while **every** task of the address space is in a ptrace stop:
    threads, and also a vfork child that still shares the memory.
    """

    @property
    def pid(self) -> int:
        """Any live task of it, by the id that /proc knows."""

    def read(self, addr: int, size: int) -> bytes:
        """Exactly `size` bytes.  Raises OSError if one of them can't be read."""

    def write(self, addr: int, data: bytes) -> None:
        """Writes also where the program may not (/proc/PID/mem, POKETEXT).  Raises OSError."""

    def maps(self) -> Sequence[Mapping]:
        """All mappings, by address."""

    def syscall(self, nr: int, *args: int) -> int:
        """Makes one of the tasks execute a system call; its result, -errno for an error.

        The task's registers and pending signals are as before afterwards.  Raises OSError
        when no task can make one.
        """

    def threads(self) -> Iterable[int]:
        """Ids of all tasks that share the address space, for the next two."""

    def get_registers(self, tid: int) -> tuple[int, ...]:
        """The 27 registers.  Raises OSError (ESRCH) when the task was killed meanwhile."""

    def set_registers(self, tid: int, registers: Registers) -> None:
        """Raises OSError (ESRCH) when the task was killed meanwhile."""

    def usable(self, start: int, end: int) -> bool:
        """Whether stubs may be mapped at this unmapped range of addresses.

        A replay says no where the recording will map something later.  A live process says
        yes.
        """
