"""What kinds of values a site collects, and how they are shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from relive.conditions.c.operands import BitField, Object
from relive.conditions.ir import to_signed
from relive.conditions.values import Value
from relive.symbols.dwarf.types import Base, Enum, Pointer


@dataclass(frozen=True, slots=True)
class Shape:
    """A value.

    signed: its word is a signed number.
    style: word: small numbers in decimal, others in hexadecimal.  number: in decimal.  pointer:
    in hexadecimal.
    names: of an enumeration's values.
    """

    signed: bool = False
    style: Literal["word", "number", "pointer"] = "word"
    names: tuple[tuple[int, str], ...] = field(default=(), hash=False)

    def text(self, value: int | None) -> str:
        """A value of it for people; `value` as `number` gives it."""
        if value is None:
            return "?"
        for number, name in self.names:
            if number == value:
                return name
        if self.style == "number" or (self.style == "word" and -10 < value < 10):
            return str(value)
        return f"{value:#x}"

    def number(self, word: int | None) -> int | None:
        """A word as the number that it stands for."""
        return to_signed(word) if self.signed and word is not None else word


WORD: Final = Shape()


def shape(value: Value) -> Shape:
    """What is known of an expression's value."""
    found = value.operand
    if isinstance(found, Object | BitField):
        match found.type:
            case Enum(_, _, _, values):
                names = {number: name for name, number in reversed(values.items())}
                return Shape(value.signed, "number", tuple(names.items()))
            case Base():
                return Shape(value.signed, "number")
            case Pointer(reference=False):
                return Shape(False, "pointer")
    return Shape(value.signed)
