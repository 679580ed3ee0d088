"""Where a variable is, and how to get words out of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from relive.conditions.errors import ConditionError
from relive.conditions.ir import (
    SIZES,
    WORD_BITS,
    WORD_MASK,
    Binary,
    BinaryOp,
    Const,
    Expr,
    Load,
    Size,
    to_signed,
)

WORD_BYTES = WORD_BITS // 8


class Place(ABC):
    """Some bytes.  Offsets count from the first."""

    @abstractmethod
    def word(self, offset: int, size: int) -> Expr:
        """1 to 8 bytes, little endian, extended with zeros.  Raises ConditionError."""

    def signed_word(self, offset: int, size: int) -> Expr:
        """The same, extended with the sign."""
        return extended(self.word(offset, size), 8 * size)

    def part(self, offset: int, size: int | None) -> Place:
        """The bytes from an offset on.  size: how many, None when that is not known."""
        return Part(self, offset)

    def address(self) -> Expr:
        """The address of the first.  Raises ConditionError when there is none."""
        raise ConditionError(
            "this has no address: it is not in memory here", "its value may be known all the same"
        )

    def bits(self, first: int, width: int, *, signed: bool) -> Expr:
        """A bit-field of 1 to 64 bits.  Reads no byte that has none of them."""
        start, end = first // 8, (first + width + 7) // 8
        shift = first % 8
        low = self.word(start, min(end - start, WORD_BYTES))
        if end - start <= WORD_BYTES and not shift and width == 8 * (end - start):
            whole = low
        else:
            whole = binary("lshr", low, shift)
        if end - start > WORD_BYTES:  # nine bytes, in a packed structure
            whole = Binary("or", whole, binary("shl", self.word(start + 8, 1), WORD_BITS - shift))
        if signed:
            return extended(whole, width)
        return cut(whole, width)


@dataclass(frozen=True)
class Memory(Place):
    """Bytes in memory."""

    at: Expr

    def address(self) -> Expr:
        return self.at

    def part(self, offset: int, size: int | None) -> Place:
        return Memory(plus(self.at, offset))

    def word(self, offset: int, size: int) -> Expr:
        loads: list[Expr] = []
        done = 0
        while done < size:
            step: Size = next(one for one in reversed(SIZES) if one <= size - done)
            loads.append(binary("shl", Load(plus(self.at, offset + done), step), 8 * done))
            done += step
        return joined(loads)

    def signed_word(self, offset: int, size: int) -> Expr:
        for one in SIZES:
            if one == size:
                return Load(plus(self.at, offset), one, True)
        return super().signed_word(offset, size)


@dataclass(frozen=True)
class Word(Place):
    """The low bytes of a word: a register, or what an expression computes."""

    expr: Expr

    def word(self, offset: int, size: int) -> Expr:
        if offset + size > WORD_BYTES:
            raise ConditionError("the debugging information gives only a part of this")
        return cut(binary("lshr", self.expr, 8 * offset), 8 * size)


@dataclass(frozen=True)
class Bytes(Place):
    """A constant."""

    data: bytes

    def word(self, offset: int, size: int) -> Expr:
        if offset + size > len(self.data):
            raise ConditionError("the debugging information gives only a part of this")
        return Const(int.from_bytes(self.data[offset : offset + size], "little"))


@dataclass(frozen=True)
class Nowhere(Place):
    """A place that no condition reads.  why: in words; hint: what to do."""

    why: str
    hint: str = ""

    def word(self, offset: int, size: int) -> Expr:
        raise ConditionError(self.why, self.hint)

    def address(self) -> Expr:
        raise ConditionError(self.why, self.hint)


@dataclass(frozen=True)
class Pieces(Place):
    """Several places in a row, each with its bytes."""

    pieces: Sequence[tuple[Place, int]]

    def word(self, offset: int, size: int) -> Expr:
        words: list[Expr] = []
        start = 0
        for place, length in self.pieces:
            first, end = max(offset, start), min(offset + size, start + length)
            if first < end:
                word = place.word(first - start, end - first)
                words.append(binary("shl", word, 8 * (first - offset)))
            start += length
        if start < offset + size:
            raise ConditionError("the debugging information gives only a part of this")
        return joined(words)

    def part(self, offset: int, size: int | None) -> Place:
        start = 0
        for place, length in self.pieces:
            inside = offset - start
            if 0 <= inside < length and size is not None and inside + size <= length:
                return place.part(inside, size) if inside else place
            start += length
        return Part(self, offset)


@dataclass(frozen=True)
class Part(Place):
    """The bytes of another place from an offset on."""

    whole: Place
    offset: int

    def word(self, offset: int, size: int) -> Expr:
        return self.whole.word(self.offset + offset, size)

    def part(self, offset: int, size: int | None) -> Place:
        return self.whole.part(self.offset + offset, size)


def plus(expr: Expr, number: int) -> Expr:
    """A sum with a number, numbers added up."""
    match expr:
        case Const(value):
            return Const(value + number & WORD_MASK)
        case Binary("add", a, Const(value)):
            expr, number = a, to_signed(value + number & WORD_MASK)
    return Binary("add", expr, Const(number & WORD_MASK)) if number else expr


def binary(op: BinaryOp, expr: Expr, number: int) -> Expr:
    """A shift by a number, left out when it is 0."""
    return Binary(op, expr, Const(number)) if number else expr


def joined(words: Sequence[Expr]) -> Expr:
    """Words that have no bits in common, as one."""
    whole = words[0]
    for word in words[1:]:
        whole = Binary("or", whole, word)
    return whole


def cut(expr: Expr, bits: int) -> Expr:
    """The lowest bits, extended with zeros."""
    if bits >= WORD_BITS:
        return expr
    mask = (1 << bits) - 1
    if isinstance(expr, Const):
        return Const(expr.value & mask)
    if isinstance(expr, Load) and not expr.signed and 8 * expr.size <= bits:
        return expr
    return Binary("and", expr, Const(mask))


def extended(expr: Expr, bits: int) -> Expr:
    """The lowest bits, extended with the sign."""
    if bits >= WORD_BITS:
        return expr
    if isinstance(expr, Const):
        value = expr.value & (1 << bits) - 1
        if value >> bits - 1:
            value |= WORD_MASK & ~((1 << bits) - 1)
        return Const(value)
    if isinstance(expr, Binary) and expr.op == "and" and expr.b == Const((1 << bits) - 1):
        expr = expr.a  # what it clears is shifted out anyway
    out = Const(WORD_BITS - bits)
    return Binary("ashr", Binary("shl", expr, out), out)
