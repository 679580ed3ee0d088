"""What stands behind names in conditions, when whoever parses knows more than registers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from relive.conditions.errors import ConditionError
from relive.conditions.ir import WORD_BITS, Const, Expr
from relive.conditions.values import Kind, Value, literal


class Operand(ABC):
    """Something with a value, or with parts that have values.

    Every method raises ConditionError, with a hint, for what makes no sense of it.
    """

    step: int | None = None
    """For pointers: the bytes by which + 1 moves one; else None."""

    @abstractmethod
    def value(self) -> Value:
        """Its word."""

    def address_value(self) -> Value:
        """Its word as an address to load from, in the brackets of `u8[...]`."""
        return self.value()

    def member(self, name: str) -> Operand:
        """The member called `name`."""
        raise ConditionError(f"this has no member {name}")

    def element(self, index: Expr) -> Operand:
        """The element with this index."""
        raise ConditionError("this is not an array")

    def address(self) -> Operand:
        """Where it is in memory."""
        raise ConditionError("this has no address")

    def size(self) -> int:
        """Its bytes in memory."""
        raise ConditionError("the size of this is not known")

    def moved(self, by: Expr) -> Operand:
        """For pointers: the one so many bytes further."""
        raise ConditionError("this is not a pointer")

    def check_whole(self) -> None:  # noqa: B027 - for most there is nothing to refuse
        """Raise when it makes no sense to take its word by itself for a truth or a number."""


@dataclass(frozen=True)
class Symbol(Operand):
    """A word.

    expr: its value.  signed: whether its word is a signed number.  bits: of its type; the word is
    extended from them.
    """

    expr: Expr
    signed: bool = False
    bits: int = WORD_BITS

    def value(self) -> Value:
        kind = Kind.SIGNED if self.signed else Kind.UNSIGNED
        return Value(self.expr, kind, self.bits, operand=self)


@dataclass(frozen=True)
class Number(Operand):
    """A number that a name stands for: an address, an enumerator."""

    number: int

    def value(self) -> Value:
        return literal(self.number)

    def member(self, name: str) -> Operand:
        raise ConditionError(
            "a number has no members",
            "the name stands for an address: write u32[name + offset]",
        )

    def element(self, index: Expr) -> Operand:
        raise ConditionError(
            "a number has no elements",
            "the name stands for an address: write u32[name + 4 * index]",
        )

    def address(self) -> Operand:
        return self


@dataclass(frozen=True)
class Unknown(Operand):
    """What a name stands for before anybody has looked: everything makes sense of it."""

    def value(self) -> Value:
        return Value(Const(1 << 63), Kind.EITHER)

    def member(self, name: str) -> Operand:
        return self

    def element(self, index: Expr) -> Operand:
        return self

    def address(self) -> Operand:
        return self

    def size(self) -> int:
        return 1


class Scope(Mapping[str, "Operand | Expr | int"]):
    """Names that come with types: what var, cast and sizeof ask."""

    @abstractmethod
    def variable(self, name: str) -> Operand | Expr | int:
        """The variable of that name, registers and words of the language left aside.

        Raises KeyError, and ConditionError for one that can't be used.
        """

    def unknown(self, name: str) -> str:
        """Why a name may not be known, as a hint, "" for nothing to say."""
        return ""

    @abstractmethod
    def cast(self, type_name: str, value: Value) -> Operand:
        """A word taken for a value of a type.  Raises ConditionError."""

    @abstractmethod
    def size_of(self, type_name: str) -> int:
        """Bytes of a type.  Raises ConditionError."""


Names: TypeAlias = Mapping[str, Operand | Expr | int]
"""More names: an int is a literal (an address, an enumerator), an expression is unsigned.
Registers, types and keywords of the language come first.  A Scope knows types, too."""


def operand(known: Operand | Expr | int) -> Operand:
    """What a name in Names stands for."""
    if isinstance(known, Operand):
        return known
    return Number(known) if isinstance(known, int) else Symbol(known)
