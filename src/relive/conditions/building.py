"""What operators of the language make of their operands, once their signedness is known."""

from __future__ import annotations

import ast

from relive.arch.x86_64_parts import Part
from relive.conditions.ir import WORD_BITS, Binary, BinaryOp, Const, Expr, Reg, Size, word
from relive.conditions.values import (
    Kind,
    Value,
    boolean,
    check_equality,
    literal,
    sign_sensitive_kind,
)


def part_expr(part: Part) -> Expr:
    """A register or a part of one, extended with zeros."""
    if part.bits == WORD_BITS:
        return Reg(part.index)
    whole: Expr = Reg(part.index)
    if part.shift:
        whole = Binary("lshr", whole, Const(part.shift))
    return Binary("and", whole, Const((1 << part.bits) - 1))


def masked_bits(value: Value) -> int:
    """Bits that the result of `value & other` can have."""
    if value.is_literal:
        return value.literal.bit_length() if value.literal >= 0 else WORD_BITS
    return value.bits


def cast_to(value: Value, size: Size, signed: bool) -> Value:
    """The lowest `size` bytes, read as a number of that kind."""
    bits = 8 * size
    kind = Kind.SIGNED if signed else Kind.UNSIGNED
    if value.is_literal:
        number = value.literal & ((1 << bits) - 1)
        if signed and number >> (bits - 1):
            number -= 1 << bits
        return Value(Const(word(number)), kind, bits)
    if bits == WORD_BITS or (value.kind is kind and value.bits <= bits):
        return Value(value.expr, kind, bits)
    if not signed:
        return Value(Binary("and", value.expr, Const((1 << bits) - 1)), kind, bits)
    out = Const(WORD_BITS - bits)
    return Value(Binary("ashr", Binary("shl", value.expr, out), out), kind, bits)


def comparison(operator: ast.cmpop, a: Value, b: Value) -> Value:
    """One comparison.  Raises SignError."""
    if isinstance(operator, ast.Eq | ast.NotEq):
        check_equality(a, b)
        if a.is_literal and b.is_literal:
            return literal(int((a.literal == b.literal) == isinstance(operator, ast.Eq)))
        return boolean(Binary("eq" if isinstance(operator, ast.Eq) else "ne", a.expr, b.expr))
    signed = sign_sensitive_kind(a, b) is Kind.SIGNED
    if isinstance(operator, ast.Gt | ast.GtE):
        a, b = b, a
    if a.is_literal and b.is_literal:
        strict = isinstance(operator, ast.Lt | ast.Gt)
        return literal(int(a.literal < b.literal if strict else a.literal <= b.literal))
    op: BinaryOp
    if isinstance(operator, ast.Lt | ast.Gt):
        op = "slt" if signed else "ult"
    else:
        op = "sle" if signed else "ule"
    return boolean(Binary(op, a.expr, b.expr))
