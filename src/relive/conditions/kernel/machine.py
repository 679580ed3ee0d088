"""What the running kernel gives the kernel evaluator: tried, never concluded from a version."""

from __future__ import annotations

import ctypes
import functools
import signal
from pathlib import Path

from relive.conditions import ir
from relive.conditions.kernel import lower_bpf
from relive.conditions.kernel.bpf import BpfRefused, DirectLoader, Loader, Program
from relive.conditions.kernel.perf import Event
from relive.conditions.kernel.site import Notify

_SIGTRAP_BIT = 1 << (signal.SIGTRAP - 1)


def _somewhere() -> tuple[ctypes.CDLL, int]:
    """libc and the address of a function of it that does nothing much."""
    libc = ctypes.CDLL(None)
    return libc, ctypes.cast(libc.getppid, ctypes.c_void_p).value or 0


@functools.cache
def breakpoints_missing() -> str | None:
    """Why this process can't open perf breakpoints; None when it can."""
    try:
        Event.breakpoint(0, _somewhere()[1]).close()
    except OSError as error:
        return f"no perf breakpoints: {error}"
    return None


@functools.cache
def programs_missing(loader: Loader | None = None) -> str | None:
    """Why no program can be loaded (None: by this process itself); None when one can."""
    try:
        Program(lower_bpf.lower(ir.TRUE).code, loader or DirectLoader()).close()
    except (BpfRefused, OSError) as error:
        return f"no BPF programs: {error}"
    return None


@functools.cache
def loading_missing() -> str | None:
    """Why no program can be loaded, by this process or by relive-bpf-helper; None when one can
    (helper.best_loader gives who does)."""
    why = programs_missing()
    if why:
        from relive.conditions.kernel.helper import HelperLoader

        try:
            with HelperLoader() as loader:
                return programs_missing(loader)
        except OSError:
            pass  # there is none, or not for us
    return why


def missing(loader: Loader | None = None) -> str | None:
    """Why the kernel evaluator can't work in this process; None when it can.

    loader: who is to load programs; None: whoever can.
    """
    return breakpoints_missing() or (programs_missing(loader) if loader else loading_missing())


@functools.cache
def suppresses(loader: Loader | None = None) -> bool:
    """Whether a program that returns 0 suppresses the signal of a hit (Linux 6.10), and not just
    its sample.  Tried on this thread, with a signal that it blocks meanwhile.

    Raises BpfRefused or OSError where `missing` says why.
    """
    libc, address = _somewhere()
    chosen = {signal.SIGRTMAX - 1}
    code, constants = lower_bpf.lower(ir.FALSE)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, chosen)
    try:
        with Program(code, loader or DirectLoader()) as program, _own(address) as event:
            assert constants == [0]  # as the map is made
            event.signal_by_fd(signal.SIGRTMAX - 1)
            event.set_program(program.fd)
            event.enable()
            libc.getppid()
            event.disable()
        return signal.sigtimedwait(chosen, 0) is None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _own(address: int) -> Event:
    import threading

    # By its id, not 0: the owner of the signal must be this thread.
    return Event.breakpoint(threading.get_native_id(), address)


def way(loader: Loader | None = None) -> Notify:
    """How sites should tell of hits on this kernel.  Raises as `suppresses`."""
    return Notify.SIGTRAP if suppresses(loader) else Notify.PROGRAM


def blocks_sigtrap(tid: int) -> bool:
    """Whether a thread blocks SIGTRAP now, which then does not tell of hits (Notify.FD does).

    Raises OSError when the thread is gone.
    """
    for line in Path(f"/proc/{tid}/status").read_text().splitlines():
        if line.startswith("SigBlk:"):
            return bool(int(line.split()[1], 16) & _SIGTRAP_BIT)
    return False
