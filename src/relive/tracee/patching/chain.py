"""A short instruction before bytes that lead nowhere: its successors are moved as well.

The jump of a short instruction ends in bytes of the next ones.  If these become jumps
themselves (to copies of what they displace), the bytes are others, and many of them can be
chosen: they are displacements, too.  Here the displacements of such a chain of jumps are
found together.

    site          next            next but one
    E9 d0         E9 d1 d2        41 57         the site's: d0 E9 d1 d2; the next's: d1 d2 41 57
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Final, NamedTuple

from relive.tracee.patching.space import Allowed

MAX_LINKS: Final = 6
"""Instructions of a chain at most.  The displacement of a jump of one byte ends four bytes
behind it; more than that many links change nothing for the first."""
MAX_BYTES: Final = 32
"""Bytes from the site on that a chain may change or rely on."""
_JMP: Final = 0xE9
_FILLER: Final = 0x2E
_PREFIXES: Final = (0x64, 0x2E, 0x3E, 0x26, 0x36, 0x65)
"""Segment overrides: without meaning before a near jump (Intel SDM vol. 2, 2.1.1)."""
_REX: Final = tuple(range(0x40, 0x50))
"""Likewise, directly before the opcode: the operand of a near jump has 64 bits anyway, and no
register (vol. 2, 2.2.1.2 and "JMP")."""
_TRIES: Final = 8
"""Places tried for one jump of a chain."""
_CHOICES: Final = 4
"""Beginnings tried for the third link and those behind it."""
_COMBINATIONS: Final = 3000
_SEARCHES: Final = 600
"""Searches for an address, for one site."""


class Link(NamedTuple):
    """An instruction that gets a jump."""

    address: int
    size: int


@dataclass(slots=True)
class Solution:
    heads: tuple[bytes, ...]
    """What each link begins with, before its displacement."""
    landings: list[int]
    """Where each jump leads."""
    written: dict[int, int]
    """Bytes of the jumps, and those behind the last link that they share."""


class Search:
    """For one site.

    current: the byte in memory at an address behind the chain.
    land: takes memory for a landing, at an address whose displacement from the first argument
    is allowed and that is not below the last argument; None if there is none.
    give_back: undoes that.
    possible: whether there is any such memory, for an origin and a demand.
    """

    def __init__(
        self,
        current: Callable[[int], int],
        land: Callable[[int, Allowed, int], int | None],
        give_back: Callable[[int], None],
        possible: Callable[[int, Allowed], bool],
    ) -> None:
        self._current = current
        self._land = land
        self._give_back = give_back
        self._possible = possible
        self._known: dict[tuple[int, Allowed], bool] = {}
        self._left = _SEARCHES

    def solutions(self, links: Sequence[Link]) -> Iterator[Solution]:
        """Ways to make all of these jump.  The memory of one that is not used is to be given
        back before the next is asked for."""
        for heads in islice(_heads(links), _COMBINATIONS):
            if self._left <= 0:
                return
            written: dict[int, int] = {}
            jumps: list[int] = []
            for link, head in zip(links, heads, strict=True):
                written.update({link.address + at: byte for at, byte in enumerate(head)})
                jumps.append(link.address + len(head))
            end = links[-1].address + links[-1].size
            for a in range(end, max(jumps) + 4):
                written[a] = self._current(a)
            if not all(self._hopeful(at, written) for at in jumps):
                continue
            landings = self._descend(links, jumps, written, 0)
            if landings is not None:
                yield Solution(heads, landings, written)

    def _hopeful(self, at: int, written: dict[int, int]) -> bool:
        """Whether a jump with its displacement at this address can lead anywhere, as far as its
        bytes are given."""
        key = at, _allowed(at, written)
        if key not in self._known:
            self._known[key] = self._possible(at + 4, key[1])
        return self._known[key]

    def _descend(
        self, links: Sequence[Link], jumps: Sequence[int], written: dict[int, int], number: int
    ) -> list[int] | None:
        """Places for the jumps from this number on."""
        if number == len(jumps):
            return []
        at = jumps[number]
        places = range(at, at + 4)
        allowed = _allowed(at, written)
        chosen = [a for a in places if a not in written]
        behind = links[number].address + links[number].size
        shared = [a for a in chosen if a >= behind]
        # Another place has to bring others for the bytes that the next jumps live with: first for
        # the highest of them, which decides most.
        for unit in [1 << 8 * (a - at) for a in reversed(shared)] or [0]:
            low = 0
            for _ in range(_TRIES if unit else 1):
                self._left -= 1
                landing = self._land(at + 4, allowed, low) if self._left >= 0 else None
                if landing is None:
                    break
                displacement = landing - (at + 4)
                for a in chosen:
                    written[a] = displacement >> 8 * (a - at) & 0xFF
                rest = self._descend(links, jumps, written, number + 1)
                if rest is not None:
                    return [landing, *rest]
                self._give_back(landing)
                for a in chosen:
                    del written[a]
                low = at + 4 + (displacement // unit + 1) * unit if unit else 0
        return None


def _allowed(at: int, written: dict[int, int]) -> Allowed:
    return tuple((written[a],) if a in written else None for a in range(at, at + 4))


def _heads(links: Sequence[Link]) -> Iterator[tuple[bytes, ...]]:
    """What the links may begin with: jumps without prefixes first."""
    choices = [list(_of_first(links[0].size))]
    choices += [list(_of_next(link.size)) for link in links[1:2]]
    choices += [list(_of_next(link.size))[:_CHOICES] for link in links[2:]]
    # The site's own varies fastest: it has the fewest, and decides the most.
    return ((heads[-1], *heads[:-1]) for heads in product(*choices[1:], choices[0]))


def _of_first(size: int) -> Iterator[bytes]:
    """Of the site: prefixes shift its displacement."""
    for prefixes in range(min(size, 4)):
        yield bytes((_FILLER,)) * prefixes + bytes((_JMP,))


def _of_next(size: int) -> Iterator[bytes]:
    """Of the others: prefixes are also bytes of the displacement before."""
    yield bytes((_JMP,))
    if size >= 2:
        for prefix in (_PREFIXES[0], _REX[-1], *_PREFIXES[1:], *_REX[:-1]):
            yield bytes((prefix, _JMP))
    if size >= 3:
        for prefix in _PREFIXES:
            yield bytes((prefix, _FILLER, _JMP))
