"""What code patching asks of a process: memory, registers, mappings, a system call.

The same patcher works on a live process under ptrace and on a replayed one; whoever runs
the process implements `Target`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol, TypeAlias

from relive.tracee.maps import Mapping

Registers: TypeAlias = Sequence[int]
"""The 27 words of struct user_regs_struct, in its order (relive.arch.x86_64.REGISTERS)."""


class Target(Protocol):
    """One address space and the tasks that run in it.

    Patching takes place while **every** task of the address space is in a ptrace stop:
    threads, and also a vfork child that still shares the memory.  A task that has executed
    an int3, or faulted, may report an interruption (PTRACE_EVENT_STOP) first, its signal still
    to come: `trap_pending` tells.  It counts as stopped only when it has reported the signal,
    and that went through `Patcher.resolve`.
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


_SYNCHRONOUS: Final = sum(1 << signo - 1 for signo in (4, 5, 7, 8, 11))  # ILL TRAP BUS FPE SEGV


def trap_pending(tid: int) -> bool:
    """Whether a stopped task has a signal pending that its own instruction raised: when it is
    resumed, it reports that before it executes anything.  Raises OSError when it is gone.

    The kernel takes an interruption before pending signals (get_signal, kernel/signal.c).
    """
    with open(f"/proc/{tid}/status", "rb") as f:
        for line in f:
            if line.startswith(b"SigPnd:"):
                return bool(int(line[7:], 16) & _SYNCHRONOUS)
    return False
