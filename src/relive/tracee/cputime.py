"""Processor time of a task."""

from __future__ import annotations


def cpu_ns(tid: int) -> int:
    """What a thread has used (ns), from /proc/TID/schedstat; 0 when it is not known."""
    try:
        with open(f"/proc/{tid}/schedstat", "rb") as f:
            return int(f.read().split()[0])
    except (OSError, IndexError, ValueError):
        return 0
