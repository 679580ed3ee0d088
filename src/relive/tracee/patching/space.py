"""Free addresses, and how a jump's displacement must look.

A `jmp rel32` whose four displacement bytes are not all free (they overlap bytes that must
stay, or bytes that must trap) can only reach some addresses.  Here is the search for one of
them that is free.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

Allowed: TypeAlias = tuple[Sequence[int] | None, ...]
"""Per byte of a displacement, the lowest first: the values it may take in ascending order,
or None for any."""

ANY: Final[Allowed] = (None, None, None, None)


def next_match(value: int, allowed: Allowed) -> int | None:
    """The smallest 32-bit number >= `value` whose bytes are all allowed; None if there is
    none."""
    out: list[int] = []
    for place in range(3, -1, -1):
        digit = (value >> 8 * place) & 0xFF
        choices = allowed[place]
        if choices is None:
            out.append(digit)
            continue
        at = bisect_left(choices, digit)
        if at < len(choices) and choices[at] == digit:
            out.append(digit)
            continue
        if at < len(choices):
            return _filled(out, choices[at], allowed)
        # No greater one in this place: a greater one in a place before it.
        while out:
            digit = out.pop()
            before = allowed[3 - len(out)]
            if before is None:
                if digit < 0xFF:
                    return _filled(out, digit + 1, allowed)
                continue
            at = bisect_right(before, digit)
            if at < len(before):
                return _filled(out, before[at], allowed)
        return None
    return int.from_bytes(bytes(out), "big")


def _next_fixed(value: int, mask: int, fixed: int) -> int | None:
    """next_match where a byte may be anything, or is given: `fixed` in the bits of `mask`."""
    different = value & mask ^ fixed
    if not different:
        return value
    # From the highest byte that differs on, all are the smallest there are.
    top = different.bit_length() + 7 & -8
    below = (1 << top) - 1
    if (fixed & below) > (value & mask & below):
        return value & ~below | fixed & below
    value = (value | mask | below) + 1
    return None if value >> 32 else value & ~mask | fixed


def _filled(head: list[int], digit: int, allowed: Allowed) -> int:
    digits = [*head, digit]
    while len(digits) < 4:
        choices = allowed[3 - len(digits)]
        digits.append(0 if choices is None else choices[0])
    return int.from_bytes(bytes(digits), "big")


class Intervals:
    """A set of addresses as sorted, disjoint, non-adjacent intervals [start, end)."""

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._starts, self._ends, strict=True))

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, start: int, end: int) -> None:
        if start >= end:
            return
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def remove(self, start: int, end: int) -> None:
        if start >= end:
            return
        first = bisect_right(self._ends, start)
        last = bisect_left(self._starts, end)
        if first >= last:
            return
        starts: list[int] = []
        ends: list[int] = []
        if self._starts[first] < start:
            starts.append(self._starts[first])
            ends.append(start)
        if self._ends[last - 1] > end:
            starts.append(end)
            ends.append(self._ends[last - 1])
        self._starts[first:last] = starts
        self._ends[first:last] = ends

    def contains(self, start: int, end: int) -> bool:
        at = bisect_right(self._starts, start) - 1
        return at >= 0 and end <= self._ends[at]

    def from_(self, addr: int, size: int) -> tuple[int, int] | None:
        """The interval that holds `addr`, else the first one after it; it has `size` bytes."""
        starts, ends = self._starts, self._ends
        for at in range(bisect_right(ends, addr), len(starts)):
            if ends[at] - starts[at] >= size:
                return starts[at], ends[at]
        return None

    def around(self, addr: int) -> Iterator[tuple[int, int]]:
        """All intervals, the nearest first."""
        right = bisect_right(self._ends, addr)
        left = right - 1
        while left >= 0 or right < len(self._starts):
            if left < 0 or (
                right < len(self._starts) and self._starts[right] - addr <= addr - self._ends[left]
            ):
                yield self._starts[right], self._ends[right]
                right += 1
            else:
                yield self._starts[left], self._ends[left]
                left -= 1


def find(
    free: Intervals,
    origin: int,
    allowed: Allowed,
    before: int,
    after: int,
    bounds: tuple[int, int],
) -> int | None:
    """An address A such that A - origin is an allowed displacement and [A - before, A + after)
    is free and within `bounds`; None when there is none.

    origin: the address after the jump, from which its displacement counts.
    """
    low, high = bounds
    mask = fixed = 0
    for place, choices in enumerate(allowed):
        if choices is not None and len(choices) == 1:
            mask |= 0xFF << 8 * place
            fixed |= choices[0] << 8 * place
    given = all(choices is None or len(choices) == 1 for choices in allowed)
    for first, last, base in (
        (0x8000_0000, 0xFFFF_FFFF, origin - (1 << 32)),
        (0, 0x7FFF_FFFF, origin),
    ):
        at = max(low + before, base + first)
        limit = min(high - after, base + last)
        while at <= limit:
            if given:
                displacement = _next_fixed(at - base, mask, fixed)
            else:
                displacement = next_match(at - base, allowed)
            if displacement is None or displacement > last:
                break
            at = base + displacement
            interval = free.from_(at - before, before + after)
            if interval is None or at > limit:
                break
            start, end = interval
            if start <= at - before:
                if at + after <= end:
                    return at
                # Every later address of this interval is too near its end as well.
                at = end + before
            else:
                at = start + before
    return None
