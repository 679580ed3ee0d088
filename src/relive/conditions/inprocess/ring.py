"""Records that stubs append and the supervisor reads, in shared memory, without stopping.

Layout of the shared pages, in words:

    +0     head      bytes ever reserved by stubs
    +64    tail      bytes ever given free by the reader
    +4096  records   `size` bytes, mapped twice in a row in the target, so that a record which
                     runs over the end is still written as one piece

A record at position P (a byte count, ever growing) stands at records + P % size:

    +0   P + 1, written last: the record is complete     +8   site id
    +16  fs base of the thread (0 if it can't be read)   +24  number of the hit
    +32  the values, 8 bytes each

A stub reserves by compare-and-exchange of `head`, after it has seen that there is room; so
nothing is ever reserved that can't be written at once, and a full ring holds no one's place.
x86 makes stores visible in their order: who reads P + 1 reads the whole record.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import repeat
from typing import Final, NamedTuple

from relive import _core
from relive.arch.x86_64 import PAGE_SIZE
from relive.conditions.inprocess.shared import RingAddresses, SharedMemory
from relive.conditions.inprocess.stub import RECORD_HEADER
from relive.tracee.patching import Arenas, Target

_HEAD: Final = 0
_TAIL: Final = 64
DEFAULT_SIZE: Final = 1 << 20
"""Bytes of records."""


class Record(NamedTuple):
    """What a stub collected at one hit."""

    site: int
    """The id given to the site."""
    thread: int
    """fs base of the task, 0 if it is not known."""
    hit: int
    """Number of the hit at its site, from 1."""
    values: tuple[int, ...]


class Columns(NamedTuple):
    """Many records with the same number of values, a column each: what one is, is at one index."""

    sites: array[int]
    threads: array[int]
    hits: array[int]
    values: tuple[array[int], ...]


class Ring:
    """A ring in the target, near the code that uses it."""

    def __init__(self, target: Target, arenas: Arenas, near: int, size: int = DEFAULT_SIZE) -> None:
        """size: bytes of records, a power of two, whole pages.  Raises OSError."""
        if size < PAGE_SIZE or size & size - 1 or size > 1 << 30:
            raise ValueError(f"not a power of two between a page and 1 GiB: {size}")
        self._shared = SharedMemory(target, arenas, near, PAGE_SIZE + size, twice_from=PAGE_SIZE)
        at = self._shared.address
        self.addresses = RingAddresses(at + _HEAD, at + _TAIL, at + PAGE_SIZE, size)
        self._words = memoryview(self._shared.memory).cast("Q")
        self._sizes = array("I")

    def expect(self, site_id: int, values: int) -> None:
        """Records of this site will have so many values.  Ids are small numbers."""
        missing = site_id + 1 - len(self._sizes)
        if missing > 0:
            self._sizes.extend([0] * missing)
        self._sizes[site_id] = RECORD_HEADER + values

    @property
    def tail(self) -> int:
        """Bytes ever taken out."""
        return int(self._words[_TAIL // 8])

    @property
    def waiting(self) -> int:
        """Bytes reserved and not yet read."""
        return int(self._words[_HEAD // 8] - self._words[_TAIL // 8])

    def take(self, limit: int = 1 << 22) -> bytes:
        """The records that are complete, oldest first, as they stand (see above), of about
        `limit` bytes; their room is free then.

        Ends before a record that a task has reserved and not yet finished.
        """
        position = self._words[_TAIL // 8]
        records, position = _core.ring_take(
            self._shared.memory, PAGE_SIZE, self.addresses.size, position, self._sizes, limit
        )
        self._words[_TAIL // 8] = position
        return records

    def read(self) -> Iterator[Record]:
        """All records that are complete now, oldest first."""
        for found in self.columns():
            rows = zip(*found.values, strict=True) if found.values else repeat((), len(found.sites))
            for site, thread, hit, values in zip(
                found.sites, found.threads, found.hits, rows, strict=True
            ):
                yield Record(site, thread, hit, values)

    def columns(self) -> Iterator[Columns]:
        """The same as columns, twenty times as fast where all sites have equally many values."""
        while records := self.take():
            words = memoryview(records).cast("Q")
            for start, end, size in self._runs(words):
                part = words[start:end]
                sites, threads, hits, *values = (
                    array("Q", part[at::size].tobytes()) for at in range(1, size)
                )
                yield Columns(sites, threads, hits, tuple(values))

    def _runs(self, words: memoryview[int]) -> Iterator[tuple[int, int, int]]:
        """Stretches [start, end) of records of one size, in words."""
        sizes = self._sizes
        if len(used := {size for size in sizes if size}) == 1:
            yield 0, len(words), used.pop()
            return
        start = at = 0
        size = sizes[words[1]]
        while at < len(words):
            here = sizes[words[at + 1]]
            if here != size:
                yield start, at, size
                start, size = at, here
            at += here
        yield start, at, size

    def close(self) -> None:
        """Unmaps it from the target: no stub uses it any more."""
        self._shared.unmap()
