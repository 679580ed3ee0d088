"""What a signal will do to a task: from the masks in /proc/PID/status (man 5 proc)."""

from __future__ import annotations

import signal

# Default actions of signal(7); real-time signals terminate.
_IGNORED = frozenset((signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH))
_STOPPING = frozenset((signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU))

CAUGHT = "caught"
IGNORED = "ignored"
STOPS = "stops"
FATAL = "fatal"


def disposition(tid: int, signo: int) -> str:
    """CAUGHT, IGNORED, STOPS or FATAL.  Raises OSError when the task is gone."""
    caught = ignored = 0
    with open(f"/proc/{tid}/status", "rb") as f:
        for line in f:
            if line.startswith(b"SigIgn:"):
                ignored = int(line[7:], 16)
            elif line.startswith(b"SigCgt:"):
                caught = int(line[7:], 16)
                break
    bit = 1 << (signo - 1)
    if caught & bit:
        return CAUGHT
    if ignored & bit:
        return IGNORED
    if signo in _IGNORED:
        return IGNORED
    if signo in _STOPPING:
        return STOPS
    return FATAL


def pending_caught(tid: int) -> bool:
    """Whether a signal with a handler waits to be delivered.  Raises OSError."""
    masks = {}
    with open(f"/proc/{tid}/status", "rb") as f:
        for line in f:
            if line.startswith((b"SigPnd:", b"ShdPnd:", b"SigBlk:", b"SigCgt:")):
                masks[line[:6]] = int(line[7:], 16)
    pending = (masks[b"SigPnd"] | masks[b"ShdPnd"]) & ~masks[b"SigBlk"]
    return bool(pending & masks[b"SigCgt"])
