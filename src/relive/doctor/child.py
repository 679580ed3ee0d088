"""A child process to try tracing on."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from typing import TYPE_CHECKING, Self

from relive.doctor import kernel

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

PR_SET_PDEATHSIG = 1


class Child:
    """A forked child that waits to be released, runs `body`, and exits with its result.

    Killed and reaped at the end of the `with` block.
    """

    def __init__(self, body: Callable[[], int]) -> None:
        wait, self._go = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 99
            try:
                kernel.prctl("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)
                os.close(self._go)
                os.read(wait, 1)
                status = body()
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(wait)
        self.reaped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.reaped:
            os.kill(self.pid, signal.SIGKILL)
            while not self.reaped:
                self.wait()

    def release(self) -> None:
        """Let the child run `body`."""
        os.close(self._go)

    def seize(self, options: int = 0) -> None:
        """Attach with PTRACE_SEIZE; the child keeps running."""
        kernel.ptrace(
            "ptrace(PTRACE_SEIZE)",
            kernel.PTRACE_SEIZE,
            self.pid,
            data=options | kernel.O_EXITKILL | kernel.O_TRACESYSGOOD,
        )

    def interrupt(self) -> None:
        """Stop the child."""
        kernel.ptrace("ptrace(PTRACE_INTERRUPT)", kernel.PTRACE_INTERRUPT, self.pid)
        self.wait()

    def resume(self, request: int = kernel.PTRACE_CONT, sig: int = 0) -> None:
        """Go on from a stop, with PTRACE_CONT, _SYSCALL or _SYSEMU."""
        kernel.ptrace("ptrace(resume)", request, self.pid, data=sig)

    def wait(self) -> int:
        """Wait for the next stop or the end; returns the wait status."""
        # __WALL is 0x40000000; the child is an ordinary one, so 0 does.
        _, status = os.waitpid(self.pid, 0)
        self.reaped = not os.WIFSTOPPED(status)
        return status

    def siginfo(self) -> tuple[int, int]:
        """si_signo and si_code of the signal the child stopped for."""
        info = (ctypes.c_int * 32)()
        kernel.ptrace("ptrace(GETSIGINFO)", kernel.PTRACE_GETSIGINFO, self.pid, data=info)
        return info[0], info[2]


def ending(body: Callable[[], int], limit: float = 5.0) -> int:
    """Run `body` in a child; returns the wait status."""
    with Child(body) as child:
        child.release()
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                child.reaped = True
                return status
            time.sleep(0.001)
        raise TimeoutError(110, "the child did not end", "waitpid")
