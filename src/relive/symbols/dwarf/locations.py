"""Where a variable is while a thread is at an address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from relive.symbols.dwarf import dies
from relive.symbols.dwarf.info import DebugInfo, Span

if TYPE_CHECKING:
    from elftools.dwarf.die import DIE


@dataclass(frozen=True, slots=True)
class Location:
    """expression: DWARF operations that give the place; b"" when it is nowhere there.

    constant: the variable's bytes, when it is a constant and has no place.
    listed: the compiler gave different places for different addresses, so that each is exact.
    elsewhere: file addresses at which it has a place.
    """

    expression: bytes = b""
    constant: bytes | None = None
    listed: bool = False
    elsewhere: tuple[Span, ...] = ()


def locate(info: DebugInfo, die: DIE, vaddr: int | None, size: int) -> Location:
    """Where a variable is.

    vaddr: the file address; None for any.  size: the variable's bytes (for constants).
    """
    holder = dies.has(die, "DW_AT_location")
    if holder is not None:
        return at(info, holder, "DW_AT_location", vaddr)
    holder = dies.has(die, "DW_AT_const_value")
    if holder is not None:
        value = holder.attributes["DW_AT_const_value"].value
        if isinstance(value, int):
            value = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
        elif isinstance(value, str):
            value = value.encode() + b"\0"
        return Location(constant=bytes(value))
    return Location()


def at(info: DebugInfo, die: DIE, attribute: str, vaddr: int | None) -> Location:
    """What an attribute with a location says at a file address (None: wherever)."""
    found = die.attributes[attribute]
    if not isinstance(found.value, int):  # one expression, in a block
        return Location(bytes(found.value))
    otherwise = b""
    spans: list[Span] = []
    for span, expression in info.location_list(die, attribute):
        if span is None:
            otherwise = expression
        elif vaddr is not None and span.start <= vaddr < span.end:
            return Location(expression, listed=True)
        elif expression:
            spans.append(span)
    return Location(otherwise, listed=True, elsewhere=_joined(spans))


def _joined(spans: list[Span]) -> tuple[Span, ...]:
    """The same addresses in as few stretches as possible."""
    result: list[Span] = []
    for span in sorted(spans):
        if result and span.start <= result[-1].end:
            result[-1] = Span(result[-1].start, max(result[-1].end, span.end))
        else:
            result.append(span)
    return tuple(result)
