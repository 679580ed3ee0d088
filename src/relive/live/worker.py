"""A program is watched by a process that nobody knows, so that killing relive does no harm.

The tracer of a program must not be killed while the program is stopped at a breakpoint: the
kernel would let it run on with the trap.  So the process that the user sees (its process id,
the one that `kill -9` or the OOM killer hit) only waits, and its child does the work.  When the
parent is gone, the child puts everything back and ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Final

from relive.conditions.errors import ParseError
from relive.errors import ReliveError

_PR_SET_PDEATHSIG: Final = 1
_INTERRUPT: Final = signal.SIGUSR1
"""What the parent sends for the interrupt key."""
_NO_STATUS: Final = -1


class Interrupted(Exception):
    """Somebody asked for the end: the interrupt key, SIGTERM, or the parent is gone."""


def in_worker(work: Callable[[int], int | None]) -> int | None:
    """What `work(group)` returns (a wait status, or None), done in a child process.

    group: the process group that a program should be started in: the child leaves it, so that
    a signal to the whole group does not reach it.  The caller has no other threads.
    Errors of relive are raised here again.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe2(os.O_CLOEXEC)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        os.close(reading)
        os._exit(_child(work, writing, parent))
    os.close(writing)
    _forward(pid)
    answer = b""
    with open(reading, "rb") as file:
        answer = file.read()
    _, status = os.waitpid(pid, 0)
    kind, _, rest = answer.partition(b"\n")
    if kind == b"status":
        value = int(rest)
        return None if value == _NO_STATUS else value
    if kind == b"error":
        number, message, hint = rest.decode(errors="surrogateescape").split("\0")
        error = ReliveError(message, hint)
        error.status = int(number)
        raise error
    if kind == b"interrupt":
        raise KeyboardInterrupt
    if kind == b"pipe":
        raise BrokenPipeError
    code = os.waitstatus_to_exitcode(status)
    raise ReliveError(f"the process that watched the program ended by itself ({code})")


def _forward(pid: int) -> None:
    def interrupt(number: int, frame: FrameType | None) -> None:
        _kill(pid, _INTERRUPT)

    def end(number: int, frame: FrameType | None) -> None:
        _kill(pid, signal.SIGTERM)

    for number, handler in (
        (signal.SIGINT, interrupt),
        (signal.SIGTERM, end),
        (signal.SIGHUP, end),
        (signal.SIGQUIT, end),
    ):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _child(work: Callable[[int], int | None], writing: int, parent: int) -> int:
    def end(number: int, frame: FrameType | None) -> None:
        raise Interrupted(signal.Signals(number).name)

    for number in (_INTERRUPT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # not the terminal's group, but may write to it
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    answer = b"died\n"
    group = os.getpgid(parent)
    try:
        if os.getppid() != parent:
            return 1
        status = work(group)
        sys.stdout.flush()
        answer = b"status\n%d" % (_NO_STATUS if status is None else status)
    except ReliveError as error:
        message, hint = error.message, error.hint
        if isinstance(error, ParseError):  # it says both in lines of its own
            message, hint = str(error), ""
        text = f"{error.status}\0{message}\0{hint}"
        answer = b"error\n" + text.encode(errors="surrogateescape")
    except (Interrupted, KeyboardInterrupt):
        answer = b"interrupt\n"
    except BrokenPipeError:
        answer = b"pipe\n"
    except BaseException:
        traceback.print_exc()
    try:
        os.write(writing, answer)
    except OSError:
        pass
    return 0
