"""What a search for a landmark ends with."""

from __future__ import annotations

from typing import NamedTuple


class Found(NamedTuple):
    """hits: executions of the address since the task's last event, the landmark's own included
    (where the task stands at the address to begin with, that is the first).  candidates: hits
    that were compared as a whole.  refinements: how often what differed was added to the
    condition.  evaluator: who decided the hits.  counted: the position was known and counted to.
    """

    hits: int
    candidates: int
    refinements: int
    evaluator: str = ""
    counted: bool = False


class Word(NamedTuple):
    """A word that should be one thing and is another; where: its address, or a register's name."""

    where: int | str
    expected: int
    found: int

    def __str__(self) -> str:
        name = f"u64[{self.where:#x}]" if isinstance(self.where, int) else self.where
        return f"{name} = {self.found:#x} instead of {self.expected:#x}"


class Closest(NamedTuple):
    """The candidate that was most like the landmark.

    hit: which one it was.  differing: words of the sample that differed; 0 when it was only what
    no word tells (extended state, digests of small mappings).  extended: the extended state
    differed.  words: a few of those that differed.
    """

    hit: int
    differing: int
    extended: bool
    words: tuple[Word, ...]

    def __str__(self) -> str:
        parts = [str(word) for word in self.words]
        if self.differing > len(self.words):
            parts.append(f"{self.differing - len(self.words)} more words")
        if self.extended:
            parts.append("other extended state")
        return ", ".join(parts) or "other bytes in a small mapping"


class Overshot(Exception):
    """Another stop came before the landmark.

    status: its wait status.  found: what there was until then.  closest: the candidate that was
    most like it; None when no candidate differed.  counted: the search began with counting to a
    position that was known and turned out wrong; it is forgotten now, so a search from the
    interval's start may still succeed.
    """

    def __init__(
        self, status: int, found: Found, closest: Closest | None = None, *, counted: bool = False
    ) -> None:
        super().__init__(status)
        self.status = status
        self.found = found
        self.closest = closest
        self.counted = counted


class CannotSearch(Exception):
    """This evaluator can't serve this place; the message says why.  Nothing has been lost: hits
    that went by are counted, and the next evaluator goes on from there."""
