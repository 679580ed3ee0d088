"""What a condition means: the plain evaluator that all others are tested against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias, assert_never

from relive.arch import x86_64
from relive.conditions.ir import (
    SIGN_BIT,
    WORD_BITS,
    WORD_MASK,
    Binary,
    BinaryOp,
    Const,
    Expr,
    Hits,
    Load,
    Logic,
    Outcome,
    Reg,
    Select,
    Unary,
    UnaryOp,
    to_signed,
)

_FLAGS: Final = x86_64.BY_NAME[x86_64.FLAGS].index
_SEEN_FLAGS: Final = WORD_MASK & ~(x86_64.FLAG_RESUME | x86_64.FLAG_TRAP)

Read: TypeAlias = Callable[[int, int], bytes]
"""read(address, size): exactly `size` bytes, or OSError when they can't all be read."""


class Undecided(Exception):
    """The expression has no value in this state.

    address: first byte of the load that failed, or None for a division by zero.
    size: bytes of that load, or 0.
    """

    def __init__(self, address: int | None, size: int = 0) -> None:
        super().__init__(
            "division by zero"
            if address is None
            else f"{size} byte{'s' if size != 1 else ''} at {address:#x} can't be read"
        )
        self.address = address
        self.size = size


def evaluate(expr: Expr, regs: Sequence[int], read: Read, hits: int) -> Outcome:
    """Decide a hit.

    regs: the 27 words of struct user_regs_struct.  read: the program's memory.  hits: executions
    of the site so far, this one included.
    """
    try:
        return Outcome.MATCH if value(expr, regs, read, hits) else Outcome.REJECT
    except Undecided:
        return Outcome.UNDECIDED


def register(regs: Sequence[int], index: int) -> int:
    """A register as a condition sees it: RF and TF, which the kernel and tracers set, are 0."""
    return regs[index] & (_SEEN_FLAGS if index == _FLAGS else WORD_MASK)


def value(expr: Expr, regs: Sequence[int], read: Read, hits: int) -> int:
    """The word an expression stands for; arguments as for `evaluate`.

    Raises Undecided at the first load or division, in the order of evaluation, that fails.
    """
    match expr:
        case Const(constant):
            return constant
        case Reg(index):
            return register(regs, index)
        case Hits():
            return hits & WORD_MASK
        case Load(addr, size, signed):
            return _load(value(addr, regs, read, hits), size, signed, read)
        case Unary(op, a):
            return unary(op, value(a, regs, read, hits))
        case Binary(op, a, b):
            return binary(op, value(a, regs, read, hits), value(b, regs, read, hits))
        case Logic(op, a, b):
            left = value(a, regs, read, hits) != 0
            if left == (op == "or"):
                return int(left)
            return int(value(b, regs, read, hits) != 0)
        case Select(cond, a, b):
            return value(a if value(cond, regs, read, hits) else b, regs, read, hits)
        case _:
            assert_never(expr)


def _load(address: int, size: int, signed: bool, read: Read) -> int:
    if address + size > WORD_MASK + 1:
        raise Undecided(address, size)
    try:
        data = read(address, size)
    except OSError:
        raise Undecided(address, size) from None
    assert len(data) == size, "read() gave another number of bytes than asked for"
    return int.from_bytes(data, "little", signed=signed) & WORD_MASK


def unary(op: UnaryOp, a: int) -> int:
    """One operation of `Unary` on a word."""
    match op:
        case "neg":
            return -a & WORD_MASK
        case "not":
            return a ^ WORD_MASK
        case "lnot":
            return int(a == 0)
        case _:
            assert_never(op)


def binary(op: BinaryOp, a: int, b: int) -> int:
    """One operation of `Binary` on two words.  Raises Undecided for a division by zero."""
    match op:
        case "add":
            return (a + b) & WORD_MASK
        case "sub":
            return (a - b) & WORD_MASK
        case "mul":
            return (a * b) & WORD_MASK
        case "udiv" | "sdiv" | "urem" | "srem":
            return _divide(op, a, b)
        case "and":
            return a & b
        case "or":
            return a | b
        case "xor":
            return a ^ b
        case "shl":
            return (a << b) & WORD_MASK if b < WORD_BITS else 0
        case "lshr":
            return a >> b if b < WORD_BITS else 0
        case "ashr":
            return (to_signed(a) >> min(b, WORD_BITS - 1)) & WORD_MASK
        case "eq":
            return int(a == b)
        case "ne":
            return int(a != b)
        case "ult":
            return int(a < b)
        case "ule":
            return int(a <= b)
        case "slt":
            # Inverting the sign bits maps the signed order to the unsigned one.
            return int(a ^ SIGN_BIT < b ^ SIGN_BIT)
        case "sle":
            return int(a ^ SIGN_BIT <= b ^ SIGN_BIT)
        case _:
            assert_never(op)


def _divide(op: BinaryOp, a: int, b: int) -> int:
    if b == 0:
        raise Undecided(None)
    if op == "udiv":
        return a // b
    if op == "urem":
        return a % b
    dividend, divisor = to_signed(a), to_signed(b)
    quotient = abs(dividend) // abs(divisor)
    if (dividend < 0) != (divisor < 0):
        quotient = -quotient
    # The smallest number by -1 gives 2**63, which wraps around to the smallest number.
    result = quotient if op == "sdiv" else dividend - quotient * divisor
    return result & WORD_MASK
