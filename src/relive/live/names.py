"""Names in conditions, before it is known what they stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from relive.conditions.language import parse_value


class _Anything(Mapping[str, int]):
    """Every name is an address."""

    def __getitem__(self, name: str) -> int:
        return 1 << 63  # too large to be taken for a small number by checks of the language

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __bool__(self) -> bool:
        return True  # whoever has a choice takes it for names


ANYTHING: Final[Mapping[str, int]] = _Anything()


def check(text: str) -> None:
    """Raise ParseError when `text` can't be a condition, whatever its names stand for."""
    parse_value(text, ANYTHING)


def signed(text: str) -> bool:
    """Whether the value of an expression is a signed number.  Raises ParseError."""
    return parse_value(text, ANYTHING).signed
