"""Calls through the vsyscall page become system calls.

The kernel answers them while it handles a page fault, without a stop. C libraries of before
2015 call the page when there is no vDSO, and static programs of before 2012 always do; both load
its address as a constant. The constant is replaced by the address of the agent's code that makes
the same call; like the vDSO's functions, it may change rcx and r11.
"""

from __future__ import annotations

import struct

from relive import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relive.record.session import Session
    from relive.record.tasks import Task

# Bytes of code looked through in a mapped file: C libraries have less, and a second's start-up
# time matters more than an interpreter of today that could hold such a call.
_MOST = 4 << 20
_ENTRY_SIZE = 16


def replace_calls(
    session: Session, task: Task, start: int, length: int, content: tuple[str, int], static: bool
) -> list[tuple[int, int]]:
    """Patches code that has just been mapped privately; returns the memory changed.

    content: hash of the file and offset in it; static: execution begins there, in a program without
    a loader or in the loader, which is looked through whatever its size.
    """
    if length > _MOST and not static:
        return []
    core = session.core
    key = (*content, length)
    found = session.vsyscalls.get(key)
    if found is None:
        try:
            data = core.read(task.serial, start, length)
        except OSError:  # it reaches past the end of its file
            data = b""
        found = [(at, data[at + 1] >> 2) for at in _core.find_vsyscalls(data)]
        session.vsyscalls[key] = found
    for at, index in found:
        address = _core.AGENT_VSYSCALLS + _ENTRY_SIZE * index
        core.write(task.serial, start + at, struct.pack("<I", address))
    return [(start + at, 4) for at, _ in found]
