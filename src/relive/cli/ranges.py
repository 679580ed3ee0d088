"""Event ranges as typed: `127`, `1000-5000`, `1000-`, `end`."""

from __future__ import annotations

import re

from relive.errors import UsageError

SPEC = re.compile(r"(\d+)(?:(-)(\d+|end)?)?|end", re.ASCII)


def is_range(text: str) -> bool:
    """Whether it has the form of a range."""
    return SPEC.fullmatch(text) is not None


def parse_range(text: str, count: int) -> tuple[int, int]:
    """First and last event that `text` means in a recording of `count` events.

    UsageError when it is no range; the numbers may lie beyond the end.
    """
    match = SPEC.fullmatch(text)
    if match is None:
        raise UsageError(f"'{text}' is no range of events", "say 127, 1000-5000, 1000- or end")
    first, dash, last = match.groups()
    if first is None:
        return max(0, count - 1), max(0, count - 1)
    if not dash:
        return int(first), int(first)
    end = max(0, count - 1) if last in (None, "end") else int(last)
    if last not in (None, "end") and end < int(first):
        raise UsageError(f"the range {text} ends before it begins")
    return int(first), end


def merge(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ascending ranges without overlap that cover the same events."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(merged[-1][1], last)
        else:
            merged.append((first, last))
    return merged
