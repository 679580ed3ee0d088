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

import struct
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from relive.arch.x86_64 import PAGE_SIZE
from relive.conditions.inprocess.shared import RingAddresses, SharedMemory
from relive.conditions.inprocess.stub import RECORD_HEADER
from relive.tracee.patching import Arenas, Target

_HEAD: Final = 0
_TAIL: Final = 64
_WORD: Final = struct.Struct("<Q")
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
        self._sizes: dict[int, int] = {}

    def expect(self, site_id: int, values: int) -> None:
        """Records of this site will have so many values."""
        self._sizes[site_id] = RECORD_HEADER + values

    @property
    def waiting(self) -> int:
        """Bytes reserved and not yet read."""
        return int(self._words[_HEAD // 8] - self._words[_TAIL // 8])

    def read(self, limit: int | None = None) -> Iterator[Record]:
        """All records that are complete, oldest first, each freed when the next is asked for.

        Ends before a record that a task has reserved and not yet finished.
        """
        make = Record
        for site, words in self._pieces(limit):
            yield make(site, words[2], words[3], tuple(words[RECORD_HEADER:]))

    def drain(self, take: Callable[[int, list[int]], None], limit: int | None = None) -> int:
        """Calls take(site id, all words of the record) for each; how many.  Faster than
        `read`."""
        count = 0
        for site, words in self._pieces(limit):
            take(site, words)
            count += 1
        return count

    def _pieces(self, limit: int | None) -> Iterator[tuple[int, list[int]]]:
        words = self._words
        size = self.addresses.size // 8
        first = PAGE_SIZE // 8
        mask = size - 1
        position = words[_TAIL // 8] // 8
        sizes = self._sizes
        given = 0
        unfreed = 0
        try:
            while limit is None or given < limit:
                at = position & mask
                if words[first + at] != 8 * position + 1:
                    return
                site = words[first + ((at + 1) & mask)]
                length = sizes[site]
                end = at + length
                if end <= size:
                    record = words[first + at : first + end].tolist()
                else:
                    record = words[first + at : first + size].tolist()
                    record += words[first : first + end - size].tolist()
                position += length
                given += 1
                unfreed += length
                yield site, record
                if unfreed > size >> 3:
                    words[_TAIL // 8] = 8 * position
                    unfreed = 0
        finally:
            words[_TAIL // 8] = 8 * position

    def close(self) -> None:
        """Unmaps it from the target: no stub uses it any more."""
        self._shared.unmap()
