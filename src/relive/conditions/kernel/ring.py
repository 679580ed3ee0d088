"""The BPF ring buffer, as its one reader (BPF_MAP_TYPE_RINGBUF, Linux 5.8).

     page 0      u64 consumer position, written by the reader
     page 1      u64 producer position
     pages 2...  data, mapped twice in a row, so that every record is in one piece

A record is a header of 8 bytes (u32 length, with bit 31 while it is being written and bit 30
when it is discarded; u32 for the kernel) and the data, padded to 8 bytes.
"""

from __future__ import annotations

import mmap
import struct
from array import array
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from relive.conditions.kernel.layout import PAGE, RECORD_HEADER

if TYPE_CHECKING:
    from types import TracebackType

_BUSY: Final = 1 << 31
_DISCARDED: Final = 1 << 30
_HEADER: Final = 8


class Record(NamedTuple):
    """What a candidate of a collecting site left.

    tid: the task.  hit: number of the hit at the site, from 1.  values: 64-bit words.
    """

    tid: int
    hit: int
    values: tuple[int, ...]


class Ring:
    """The ring of one program, whose records all have `n_values` values.

    fd: the map, which stays the caller's.  size: its max_entries.
    """

    def __init__(self, fd: int, size: int, n_values: int) -> None:
        self._size = size
        self._step = _HEADER + RECORD_HEADER + 8 * n_values
        self._parse = struct.Struct(f"<IIIIQ{n_values}Q")
        self._consumer_map = mmap.mmap(fd, PAGE)
        try:
            self._producer_map = mmap.mmap(fd, PAGE + 2 * size, prot=mmap.PROT_READ, offset=PAGE)
        except BaseException:
            self._consumer_map.close()
            raise
        self._consumer = memoryview(self._consumer_map).cast("Q")
        self._producer = memoryview(self._producer_map)[:8].cast("Q")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Unmap."""
        self._consumer.release()
        self._producer.release()
        self._consumer_map.close()
        self._producer_map.close()

    def drain_bytes(self) -> bytes:
        """The finished records so far, with their ring headers; frees their space."""
        start = self._consumer[0]
        end = self._producer[0]
        # x86 keeps loads in order: what lies before the position read is written.
        if start == end:
            return b""
        at = PAGE + start % self._size
        data = self._producer_map[at : at + (end - start)]
        # A record that another core is writing: up to there.
        words = memoryview(data).cast("I")
        for index in range(0, len(data) // 4, self._step // 4):
            if words[index] & _BUSY:
                data = data[: index * 4]
                break
        self._consumer[0] = start + len(data)
        return data

    def columns(self) -> tuple[array[int], array[int], tuple[array[int], ...]] | None:
        """The same as `drain`, as columns: tasks, hits and each value; None for no records."""
        data = self.drain_bytes()
        if not data:
            return None
        step = self._step // 8
        words = memoryview(data).cast("Q")
        heads = array("Q", words[0::step].tobytes())
        if any(head & _DISCARDED for head in heads):
            kept = [
                data[at : at + self._step]
                for at, head in zip(range(0, len(data), self._step), heads, strict=True)
                if not head & _DISCARDED
            ]
            words = memoryview(b"".join(kept)).cast("Q")
        # The upper half of the second word is 0.
        tids, hits, *values = (array("Q", words[at::step].tobytes()) for at in range(1, step))
        return tids, hits, tuple(values)

    def drain(self) -> list[Record]:
        """The finished records so far, in the order of the hits' ends; frees their space."""
        return [
            Record(fields[2], fields[4], fields[5:])
            for fields in self._parse.iter_unpack(self.drain_bytes())
            if not fields[0] & _DISCARDED
        ]
