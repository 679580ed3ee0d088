"""Memory that stubs write and the supervisor reads without stopping anyone.

A file in memory, made by the target and mapped by both.  Counters of a site:

    +0 hits   +8 candidates   +16 undecided   +24 stop_at   +32 lost        (64 bytes)

each a little-endian word, each site in a cache line of its own.  See ring.py for the ring.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
from typing import Final, NamedTuple

from relive.arch.x86_64 import PAGE_SIZE
from relive.tracee.maps import PROT_READ, PROT_WRITE
from relive.tracee.patching import MAP_SHARED, Arenas, Target

HITS, CANDIDATES, UNDECIDED, STOP_AT, LOST = range(0, 40, 8)
COUNTERS_SIZE: Final = 64

_SYS_CLOSE: Final = 3
_SYS_MUNMAP: Final = 11
_SYS_FTRUNCATE: Final = 77
_SYS_MEMFD_CREATE: Final = 319
_MFD_CLOEXEC: Final = 1
_WORD: Final = struct.Struct("<Q")


def _field(offset: int, doc: str) -> property:
    def get(self: Counters) -> int:
        value: int = _WORD.unpack_from(self.memory, self.offset + offset)[0]
        return value

    def put(self: Counters, value: int) -> None:
        _WORD.pack_into(self.memory, self.offset + offset, value)

    return property(get, put, doc=doc)


class Counters:
    """The counters of a site, as both sides see them.

    Setting one is exact only while no task of the target runs.
    """

    __slots__ = ("address", "memory", "offset")

    def __init__(self, memory: mmap.mmap | bytearray, offset: int, address: int) -> None:
        self.memory = memory
        self.offset = offset
        self.address = address

    hits = _field(HITS, "Executions of the site.")
    candidates = _field(CANDIDATES, "Hits whose condition was not 0.")
    undecided = _field(UNDECIDED, "Hits whose condition divided by zero.")
    stop_at = _field(STOP_AT, "The candidate to stop at.")
    lost = _field(LOST, "Records for which the ring had no room.")


class RingAddresses(NamedTuple):
    """Where the target sees a ring."""

    head: int
    tail: int
    records: int
    """Start of the records, mapped twice in a row: one may run over the end."""
    size: int
    """Bytes of records, a power of two."""


class SharedMemory:
    """Shared pages, near code of the target."""

    def __init__(
        self, target: Target, arenas: Arenas, near: int, size: int, twice_from: int | None = None
    ) -> None:
        """size: bytes, whole pages.  twice_from: an offset from which on the pages are mapped a
        second time, right after the first.  Raises OSError where the target may not do this."""
        self.size = size
        mapped = size + (size - twice_from if twice_from is not None else 0)
        self._target = target
        self._mapped = mapped
        # Room for everything, in which the file is then mapped; its first bytes hold the name
        # of the file meanwhile.
        prot = PROT_READ | PROT_WRITE
        self.address = arenas.map_near(near, mapped, prot, _PRIVATE_ANONYMOUS)
        target.write(self.address, b"relive\0")
        fd = _check(target.syscall(_SYS_MEMFD_CREATE, self.address, _MFD_CLOEXEC), "memfd_create")
        try:
            _check(target.syscall(_SYS_FTRUNCATE, fd, size), "ftruncate")
            own = os.open(f"/proc/{target.pid}/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
            try:
                self.memory = mmap.mmap(own, size)
            finally:
                os.close(own)
            parts = [(self.address, 0, size)]
            if twice_from is not None:
                parts.append((self.address + size, twice_from, size - twice_from))
            for at, offset, length in parts:
                _check(
                    target.syscall(
                        _SYS_MMAP, at, length, prot, MAP_SHARED | _FIXED | _POPULATE, fd, offset
                    ),
                    "mmap",
                )
        finally:
            target.syscall(_SYS_CLOSE, fd)

    def unmap(self) -> None:
        """Takes the pages from the target.  What they hold can still be read here."""
        self._target.syscall(_SYS_MUNMAP, self.address, self._mapped)


_SYS_MMAP: Final = 9
_FIXED: Final = 0x10
_POPULATE: Final = 0x8000
_PRIVATE_ANONYMOUS: Final = 0x22


def _check(result: int, call: str) -> int:
    if -4096 < result < 0:
        raise OSError(-result, f"{call} in the target: {os.strerror(-result)}")
    return result


class CounterPages:
    """Hands out counters, near the sites that use them."""

    _PAGES: Final = 4

    def __init__(self, target: Target, arenas: Arenas) -> None:
        self._target = target
        self._arenas = arenas
        self._shared: list[SharedMemory] = []
        self._unused: list[Counters] = []

    def take(self, near: int) -> Counters:
        """Counters at 0 that code at `near` and around it reaches.  Raises OSError."""
        for at in range(len(self._unused) - 1, -1, -1):
            if abs(self._unused[at].address - near) < _NEAR:
                return self._unused.pop(at)
        self._arenas.refresh()
        shared = SharedMemory(self._target, self._arenas, near, self._PAGES * PAGE_SIZE)
        if abs(shared.address - near) >= _NEAR:
            shared.unmap()
            raise OSError(errno.ENOMEM, "no free memory near the site")
        self._shared.append(shared)
        self._unused += [
            Counters(shared.memory, offset, shared.address + offset)
            for offset in reversed(range(0, shared.size, COUNTERS_SIZE))
        ]
        return self._unused.pop()

    def give_back(self, counters: Counters) -> None:
        """No stub uses them any more."""
        for offset in range(0, COUNTERS_SIZE, 8):
            _WORD.pack_into(counters.memory, counters.offset + offset, 0)
        self._unused.append(counters)

    def unmap(self) -> None:
        """All of them."""
        for shared in self._shared:
            shared.unmap()
        self._shared.clear()
        self._unused.clear()


_NEAR: Final = 1 << 30
"""Bytes from a site that its counters may be away: stubs reach them from their own side."""
