"""Numbers and values that sites give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from relive.live.site import Armed


class Counts(NamedTuple):
    """Of one or several sites.

    hits = candidates + rejected + undecided.  undecided: the condition needed memory that could
    not be read, or divided by zero; each was told as an event.  lost: candidates whose values
    were not kept.
    """

    hits: int = 0
    candidates: int = 0
    rejected: int = 0
    undecided: int = 0
    lost: int = 0

    def __add__(self, other: object) -> Counts:
        if not isinstance(other, Counts):
            return NotImplemented
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True)
class Record:
    """What a collecting site kept of a candidate.

    pid, tid: process and thread (tid 0: not known).  hit: number of the hit at its address,
    from 1.  values: as the action lists them, 64-bit words; None for memory that can't be read.
    """

    place: str
    address: int
    pid: int
    tid: int
    hit: int
    values: tuple[int | None, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Records of one process with equally many values, as columns: what one is, is at one index.

    A record as an object costs several times what it takes to collect it, so whatever handles
    millions handles these.
    armed: whose they are.  columns: one for each value (see Record.values).
    """

    pid: int
    armed: Sequence[Armed]
    tids: Sequence[int]
    hits: Sequence[int]
    columns: Sequence[Sequence[int | None]]

    def __len__(self) -> int:
        return len(self.hits)

    def rows(self, keep: Sequence[int]) -> Block:
        """Those at these indices."""

        def some(column: Sequence[int | None]) -> list[int | None]:
            return [column[at] for at in keep]

        return Block(
            self.pid,
            [self.armed[at] for at in keep],
            [self.tids[at] for at in keep],
            [self.hits[at] for at in keep],
            [some(column) for column in self.columns],
        )

    def records(self) -> Iterator[Record]:
        """As objects."""
        rows = zip(*self.columns, strict=True) if self.columns else repeat((), len(self))
        for armed, tid, hit, values in zip(self.armed, self.tids, self.hits, rows, strict=True):
            yield Record(armed.wanted.request.place, armed.address, self.pid, tid, hit, values)
