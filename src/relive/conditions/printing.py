"""The IR as text of the condition language.

    parse(to_text(expr)) == expr

The very same tree comes back: signedness that the tree has in its operations is written
as conversions where the operands do not imply it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, assert_never

from relive.arch.x86_64_parts import NAMES, Part
from relive.conditions.building import masked_bits
from relive.conditions.ir import (
    COMPARISON_OPS,
    WORD_BITS,
    Binary,
    BinaryOp,
    Const,
    Expr,
    Hits,
    Load,
    Logic,
    LogicOp,
    Reg,
    Select,
    Unary,
    all_of,
    any_of,
    to_signed,
)
from relive.conditions.values import Kind, SignError, Value, check_equality, joint_kind, literal

# Python's precedences, loosest first.
_CHOICE, _OR, _AND, _NOT, _COMPARE, _BIT_OR, _XOR, _BIT_AND, _SHIFT, _SUM, _PRODUCT = range(11)
_SIGN, _ATOM = 11, 12

_OPERATORS: Final[dict[BinaryOp, tuple[str, int]]] = {
    "add": ("+", _SUM), "sub": ("-", _SUM), "mul": ("*", _PRODUCT),
    "udiv": ("//", _PRODUCT), "sdiv": ("//", _PRODUCT),
    "urem": ("%", _PRODUCT), "srem": ("%", _PRODUCT),
    "and": ("&", _BIT_AND), "or": ("|", _BIT_OR), "xor": ("^", _XOR),
    "shl": ("<<", _SHIFT), "lshr": (">>", _SHIFT), "ashr": (">>", _SHIFT),
    "eq": ("==", _COMPARE), "ne": ("!=", _COMPARE),
    "ult": ("<", _COMPARE), "ule": ("<=", _COMPARE),
    "slt": ("<", _COMPARE), "sle": ("<=", _COMPARE),
}  # fmt: skip
_SIGNED_OPS: Final = ("sdiv", "srem", "slt", "sle")
_UNSIGNED_OPS: Final = ("udiv", "urem", "ult", "ule")

_DECIMAL_BELOW: Final = 1024
_NEGATIVE_BELOW: Final = 1 << 16
"""A word this close below 2**64 is shown as a negative number where signs do not matter."""


@dataclass(frozen=True, slots=True)
class _Printed:
    """Text, how tightly it binds, and what the parser will take it for."""

    text: str
    binds: int
    value: Value

    def at(self, level: int) -> str:
        """The text where something of this precedence is needed."""
        return self.text if self.binds >= level else f"({self.text})"


def to_text(expr: Expr) -> str:
    """A condition that `language.parse` makes into the same tree.

    Python's own parser refuses text with more than about 200 parentheses inside each other.
    """
    return _print(expr).text


def _number(value: int) -> str:
    return str(value) if abs(value) < _DECIMAL_BELOW else hex(value)


def _literal(word: int, *, signed: bool) -> _Printed:
    number = to_signed(word) if signed else word
    return _Printed(_number(number), _SIGN if number < 0 else _ATOM, literal(number))


def _convert(a: _Printed, kind: Kind) -> _Printed:
    """The same word, of another kind."""
    name = "i64" if kind is Kind.SIGNED else "u64"
    return _Printed(f"{name}({a.text})", _ATOM, Value(a.value.expr, kind))


def _result(text: str, binds: int, expr: Expr, kind: Kind, bits: int = WORD_BITS) -> _Printed:
    return _Printed(text, binds, Value(expr, kind, bits))


def _print(expr: Expr) -> _Printed:
    match expr:
        case Const(value):
            return _literal(value, signed=False)
        case Reg(index):
            name = NAMES[Part(index, 0, WORD_BITS)]
            return _result(name, _ATOM, expr, Kind.UNSIGNED)
        case Hits():
            return _result("hits", _ATOM, expr, Kind.UNSIGNED)
        case Load(addr, size, signed):
            text = f"{'i' if signed else 'u'}{8 * size}[{_print(addr).text}]"
            kind = Kind.SIGNED if signed else Kind.UNSIGNED
            return _result(text, _ATOM, expr, kind, 8 * size)
        case Unary("lnot", a):
            return _result(f"not {_print(a).at(_NOT)}", _NOT, expr, Kind.UNSIGNED, 1)
        case Unary(op, a):
            operand = _print(a)
            if operand.value.is_literal:
                operand = _convert(operand, Kind.UNSIGNED)
            text = f"{'-' if op == 'neg' else '~'}{operand.at(_SIGN)}"
            return _result(text, _SIGN, expr, operand.value.kind)
        case Binary():
            return _conversion(expr) or _binary(expr)
        case Logic(op):
            return _logic(op, expr)
        case Select(cond, a, b):
            first, second, kind = _agree(_print(a), _print(b), None)
            text = f"{first.at(_OR)} if {_print(cond).at(_OR)} else {second.text}"
            return _result(text, _CHOICE, expr, kind)
        case _:
            assert_never(expr)


def _logic(op: LogicOp, expr: Logic) -> _Printed:
    """A chain without parentheses if the parser makes the same tree of it."""
    terms: list[Expr] = []
    pending: list[Expr] = [expr]
    while pending:
        node = pending.pop()
        if isinstance(node, Logic) and node.op == op:
            pending += (node.b, node.a)
        else:
            terms.append(node)
    if (all_of(terms) if op == "and" else any_of(terms)) != expr:
        terms = [expr.a, expr.b]
    binds = _AND if op == "and" else _OR
    text = f" {op} ".join(_print(term).at(binds + 1) for term in terms)
    return _result(text, binds, expr, Kind.UNSIGNED, 1)


def _conversion(expr: Binary) -> _Printed | None:
    """Parts of registers and conversions, which are masks and pairs of shifts in the tree."""
    match expr:
        case Binary("and", a, Const(0xFF | 0xFFFF | 0xFFFF_FFFF as mask)):
            bits = mask.bit_length()
            part: Part | None = None
            match a:
                case Reg(index):
                    part = Part(index, 0, bits)
                case Binary("lshr", Reg(index), Const(shift)):
                    part = Part(index, shift, bits)
            if part in NAMES:
                return _result(NAMES[part], _ATOM, expr, Kind.UNSIGNED, bits)
            name, kind = f"u{bits}", Kind.UNSIGNED
        case Binary("ashr", Binary("shl", a, Const(56 | 48 | 32 as up)), Const(down)) if up == down:
            bits = WORD_BITS - up
            name, kind = f"i{bits}", Kind.SIGNED
        case _:
            return None
    operand = _print(a)
    value = operand.value
    if value.is_literal or (value.kind is kind and value.bits <= bits):
        return None  # the parser would find nothing to convert
    return _result(f"{name}({operand.text})", _ATOM, expr, kind, bits)


def _agree(a: _Printed, b: _Printed, signed: bool | None) -> tuple[_Printed, _Printed, Kind]:
    """The operands, converted and spelled so that the operation is signed as asked.

    signed: None where any kind will do.
    """
    if a.value.is_literal and b.value.is_literal:
        # The parser would compute it.
        a = _convert(a, Kind.SIGNED if signed else Kind.UNSIGNED)
    kinds = (a.value.kind, b.value.kind)
    if signed is True and Kind.SIGNED not in kinds:
        if a.value.is_literal:
            b = _convert(b, Kind.SIGNED)
        else:
            a = _convert(a, Kind.SIGNED)
    elif signed is False:
        if a.value.kind is Kind.SIGNED:
            a = _convert(a, Kind.UNSIGNED)
        if b.value.kind is Kind.SIGNED:
            b = _convert(b, Kind.UNSIGNED)
    kind = joint_kind(a.value, b.value)
    return _respell(a, kind), _respell(b, kind), kind


def _respell(number: _Printed, kind: Kind) -> _Printed:
    if not number.value.is_literal:
        return number
    return _literal(number.value.literal, signed=kind is Kind.SIGNED)


def _binary(expr: Binary) -> _Printed:
    op = expr.op
    symbol, binds = _OPERATORS[op]
    a, b = _print(expr.a), _print(expr.b)
    bits = WORD_BITS
    if binds == _SHIFT:
        a = _shifted(op, a, b)
        kind = Kind.SIGNED if a.value.kind is Kind.SIGNED else Kind.UNSIGNED
    elif op in ("eq", "ne"):
        a, b = _comparable(a, b)
        kind, bits = Kind.UNSIGNED, 1
    else:
        signed = True if op in _SIGNED_OPS else False if op in _UNSIGNED_OPS else None
        a, b, kind = _agree(a, b, signed)
        if op in ("udiv", "sdiv", "urem", "srem") and expr.b == Const(0):
            b = _convert(b, kind)  # the parser refuses a literal zero
        if op in COMPARISON_OPS:
            kind, bits = Kind.UNSIGNED, 1
        elif signed is None:
            if op == "and" and kind is Kind.UNSIGNED:
                bits = min(masked_bits(a.value), masked_bits(b.value))
            a, b = _small_negative(a), _small_negative(b)
    # Comparisons chain, so theirs need parentheses on both sides.
    left = binds + 1 if binds == _COMPARE else binds
    text = f"{a.at(left)} {symbol} {b.at(binds + 1)}"
    return _result(text, binds, expr, kind, bits)


def _small_negative(number: _Printed) -> _Printed:
    """-16 rather than 0xfffffffffffffff0."""
    if number.value.is_literal and number.value.literal > (1 << WORD_BITS) - _NEGATIVE_BELOW:
        return _literal(number.value.literal, signed=True)
    return number


def _shifted(op: BinaryOp, a: _Printed, b: _Printed) -> _Printed:
    """The left operand, of the kind that makes the shift the right one."""
    wanted = Kind.SIGNED if op == "ashr" else Kind.UNSIGNED
    if a.value.is_literal:
        return _convert(a, wanted) if op == "ashr" or b.value.is_literal else a
    if op != "shl" and a.value.kind is not wanted:
        return _convert(a, wanted)
    return a


def _comparable(a: _Printed, b: _Printed) -> tuple[_Printed, _Printed]:
    """Operands of == that the parser lets be compared."""
    a, b, kind = _agree(a, b, None)
    try:
        check_equality(a.value, b.value)
    except SignError:
        # A conversion to 64 bits makes the parser forget how narrow the value is.
        if a.value.is_literal:
            b = _convert(b, kind)
        else:
            a = _convert(a, kind)
    return a, b
