"""Names in conditions, before it is known what they stand for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from relive.conditions.language import parse_value
from relive.conditions.operands import Operand, Scope, Unknown
from relive.conditions.values import Value


class _Anything(Scope):
    """Every name is known, and everything makes sense of it."""

    def __getitem__(self, name: str) -> Operand:
        return Unknown()

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __bool__(self) -> bool:
        return True  # whoever has a choice takes it for names

    def variable(self, name: str) -> Operand:
        return Unknown()

    def cast(self, type_name: str, value: Value) -> Operand:
        return Unknown()

    def size_of(self, type_name: str) -> int:
        return 1


ANYTHING: Final = _Anything()


def signed(text: str) -> bool:
    """Whether the value of an expression is known to be a signed number by its text alone.
    Raises ParseError."""
    return parse_value(text, ANYTHING).signed


def check(text: str) -> None:
    """Raise ParseError when `text` can't be a condition, whatever its names stand for."""
    parse_value(text, ANYTHING)
