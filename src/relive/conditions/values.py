"""Signedness in the condition language: what an operand is known to be.

The IR has none of this: its operations say themselves whether they are signed.  Parser
and printer share these rules, so that a printed condition parses to the same tree.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from relive.conditions.ir import WORD_BITS, Const, Expr, word

if TYPE_CHECKING:
    from relive.conditions.operands import Operand

LITERAL_MIN = -(1 << (WORD_BITS - 1))
LITERAL_MAX = (1 << WORD_BITS) - 1
SIGNED_MAX = (1 << (WORD_BITS - 1)) - 1


class Kind(enum.Enum):
    """LITERAL: a number written in the text, not a word yet; it takes the kind of what it meets.
    EITHER: of a name that nobody has looked up yet, so that nothing can be wrong with it."""

    UNSIGNED = "unsigned"
    SIGNED = "signed"
    LITERAL = "literal"
    EITHER = "either"


class SignError(Exception):
    """An operation whose result would depend on a sign that the text does not give."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Value:
    """An expression and how the language reads its word.

    bits: the value fits in as many bits, as unsigned or signed according to `kind`.
    literal: the exact number, when `kind` is LITERAL.
    operand: what it is the value of, for those that have more than a word.
    """

    expr: Expr
    kind: Kind = Kind.UNSIGNED
    bits: int = WORD_BITS
    literal: int = 0
    operand: Operand | None = field(default=None, compare=False, repr=False)

    @property
    def signed(self) -> bool:
        """Whether the word is to be shown as a signed number."""
        return self.kind is Kind.SIGNED or (self.kind is Kind.LITERAL and self.literal < 0)

    @property
    def is_literal(self) -> bool:
        return self.kind is Kind.LITERAL


def literal(number: int) -> Value:
    """A number from the text.  Raises OverflowError when no word stands for it."""
    if not LITERAL_MIN <= number <= LITERAL_MAX:
        raise OverflowError("the number does not fit in 64 bits")
    return Value(Const(word(number)), Kind.LITERAL, literal=number)


def boolean(expr: Expr) -> Value:
    """A result of 0 or 1."""
    return Value(expr, bits=1)


def joint_kind(a: Value, b: Value) -> Kind:
    """Signed when an operand is signed; of two literals, when one is negative."""
    if Kind.EITHER in (a.kind, b.kind):
        return Kind.EITHER
    if Kind.SIGNED in (a.kind, b.kind):
        return Kind.SIGNED
    if a.is_literal and b.is_literal and (a.literal < 0 or b.literal < 0):
        return Kind.SIGNED
    return Kind.UNSIGNED


def sign_sensitive_kind(a: Value, b: Value) -> Kind:
    """`joint_kind` for operations that differ between signed and unsigned.

    Raises SignError when a literal does not belong to the kind that the other operand asks for.
    """
    kind = joint_kind(a, b)
    for number in (a, b):
        if not number.is_literal:
            continue
        if kind is Kind.UNSIGNED and number.literal < 0:
            raise SignError(
                f"{number.literal} meets an unsigned operand",
                f"write i64(...) around the operand to read it as signed, or u64({number.literal})",
            )
        if kind is Kind.SIGNED and number.literal > SIGNED_MAX:
            raise SignError(
                f"{number.literal:#x} is beyond the largest signed number",
                f"write u64(...) around the signed operand, or i64({number.literal:#x})",
            )
    return kind


def check_equality(a: Value, b: Value) -> None:
    """Raise SignError when one is a literal that the other can never equal."""
    for value, number in ((a, b), (b, a)):
        if value.is_literal or not number.is_literal or value.bits >= WORD_BITS:
            continue
        if value.kind is Kind.SIGNED:
            low, high = -(1 << (value.bits - 1)), (1 << (value.bits - 1)) - 1
        else:
            low, high = 0, (1 << value.bits) - 1
        if low <= number.literal <= high:
            continue
        other = "i" if number.literal < 0 else "u"
        hint = ""
        if value.bits in (8, 16, 32) and (value.kind is Kind.SIGNED) == (other == "u"):
            hint = f"write {other}{value.bits}(...) around it to read it the other way"
        spelled = number.literal if number.literal < 0 else f"{number.literal:#x}"
        raise SignError(
            f"a value of {value.bits} bit{'s' if value.bits != 1 else ''}, {value.kind.value},"
            f" never equals {spelled}",
            hint,
        )
