"""Numbers and values that sites give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


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
