"""Makes conditions smaller and quicker without changing what they mean.

A simplified condition has the same outcome in every state, UNDECIDED included: a part
that may be undecided (a load, a division) is only ever dropped where it was not evaluated.
Of several faults another one may come first.
"""

from __future__ import annotations

from typing import Final

from relive.conditions.ir import (
    COMMUTATIVE_OPS,
    DIVISION_OPS,
    FALSE,
    TRUE,
    WORD_BITS,
    WORD_MASK,
    Binary,
    BinaryOp,
    Const,
    Expr,
    Load,
    Logic,
    Select,
    Unary,
    always_decided,
    const,
    is_boolean,
)
from relive.conditions.reference import binary, unary

_ASSOCIATIVE: Final = ("add", "mul", "and", "or", "xor")
#: x op identity == x, the constant on the right
_IDENTITY: Final[dict[BinaryOp, int]] = {
    "add": 0, "sub": 0, "mul": 1, "udiv": 1, "sdiv": 1, "and": WORD_MASK, "or": 0, "xor": 0,
    "shl": 0, "lshr": 0, "ashr": 0,
}  # fmt: skip
#: x op x, where x is decided
_SAME: Final[dict[BinaryOp, int]] = {
    "sub": 0, "xor": 0, "eq": 1, "ne": 0, "ult": 0, "ule": 1, "slt": 0, "sle": 1,
}  # fmt: skip
_NEGATION: Final[dict[BinaryOp, BinaryOp]] = {"eq": "ne", "ne": "eq"}
#: not (a < b) is b <= a
_MIRRORED: Final[dict[BinaryOp, BinaryOp]] = {
    "ult": "ule", "ule": "ult", "slt": "sle", "sle": "slt",
}  # fmt: skip


def simplify(expr: Expr) -> Expr:
    """A condition with the same outcome; its value may be another word that is not 0."""
    return _truth(simplify_value(expr))


def simplify_value(expr: Expr) -> Expr:
    """An expression with the same value: for what is collected."""
    match expr:
        case Load(addr, size, signed):
            return Load(simplify_value(addr), size, signed)
        case Unary(op, a):
            return _unary(Unary(op, simplify(a) if op == "lnot" else simplify_value(a)))
        case Binary(op, a, b):
            return _binary(op, simplify_value(a), simplify_value(b))
        case Logic(op, a, b):
            return _logic(Logic(op, simplify(a), simplify(b)))
        case Select(cond, a, b):
            return _select(simplify(cond), simplify_value(a), simplify_value(b))
        case _:
            return expr


def _truth(expr: Expr) -> Expr:
    """The same where only whether the value is 0 matters."""
    match expr:
        case Const(value):
            return Const(int(value != 0))
        case Binary("ne", a, Const(0)) | Unary("neg", a):
            return _truth(a)
        case Unary("lnot", Unary("lnot", a)):
            return _truth(a)
        case Binary("xor" | "sub", a, b):
            return _truth(_binary("ne", a, b))
        case Select(cond, a, b):
            chosen = _select(cond, _truth(a), _truth(b))
            return chosen if isinstance(chosen, Select) else _truth(chosen)
        case _:
            return expr


def _as_boolean(expr: Expr) -> Expr:
    """1 where the value is not 0."""
    return expr if is_boolean(expr) else _binary("ne", expr, FALSE)


def _unary(expr: Unary) -> Expr:
    match expr:
        case Unary(op, Const(value)):
            return Const(unary(op, value))
        case Unary("neg", Unary("neg", a)) | Unary("not", Unary("not", a)):
            return a
        case Unary("neg", Binary("sub", a, b)):
            return _binary("sub", b, a)
        case Unary("lnot", Unary("lnot", a)):
            return _as_boolean(a)
        case Unary("lnot", Binary(op, a, b)) if op in _NEGATION:
            return _binary(_NEGATION[op], a, b)
        case Unary("lnot", Binary(op, a, b)) if op in _MIRRORED:
            return _binary(_MIRRORED[op], b, a)
        case _:
            return expr


def _logic(expr: Logic) -> Expr:
    """The operands are simplified as truths."""
    a, b = expr.a, expr.b
    stops = 1 if expr.op == "or" else 0  # the value of a that ends the evaluation
    if isinstance(a, Const):
        return Const(stops) if a.value == stops else _as_boolean(b)
    if isinstance(b, Const):
        if b.value != stops:
            return _as_boolean(a)
        if always_decided(a):
            return Const(stops)
    if a == b:
        return _as_boolean(a)  # evaluated a second time, it would give the same
    return _range(expr) or expr


def _range(expr: Logic) -> Expr | None:
    """low <= x and x < end, or the opposite, as one comparison of x - low."""
    match expr:
        case Logic("and", Binary("ule", Const(low), a), Binary("ult", b, Const(end))):
            if a == b and low <= end:
                return _binary("ult", _binary("sub", a, Const(low)), Const(end - low))
        case Logic("and", Binary("ule", Const(low), a), Binary("ule", b, Const(last))):
            if a == b and low <= last:
                return _binary("ule", _binary("sub", a, Const(low)), Const(last - low))
        case Logic("and", Binary("ult", Const(below), a), Binary("ult", b, Const(end))):
            if a == b and below < end:
                distance = _binary("sub", a, Const(below + 1))
                return _binary("ult", distance, Const(end - below - 1))
        case Logic("and", Binary("ult", Const(below), a), Binary("ule", b, Const(last))):
            if a == b and below < last:
                distance = _binary("sub", a, Const(below + 1))
                return _binary("ule", distance, Const(last - below - 1))
    return None


def _select(cond: Expr, a: Expr, b: Expr) -> Expr:
    if isinstance(cond, Const):
        return a if cond.value else b
    if a == b and always_decided(cond):
        return a
    if isinstance(cond, Unary) and cond.op == "lnot":
        return _select(cond.a, b, a)
    if (a, b) == (TRUE, FALSE):
        return _as_boolean(cond)
    if (a, b) == (FALSE, TRUE):
        return _unary(Unary("lnot", cond))
    if b == FALSE and is_boolean(a):
        return _logic(Logic("and", cond, a))
    if a == TRUE and is_boolean(b):
        return _logic(Logic("or", cond, b))
    if a == FALSE and is_boolean(b):
        return _logic(Logic("and", _unary(Unary("lnot", cond)), b))
    return Select(cond, a, b)


def _binary(op: BinaryOp, a: Expr, b: Expr) -> Expr:
    """The operands are simplified."""
    if isinstance(a, Const) and isinstance(b, Const):
        if op in DIVISION_OPS and b.value == 0:
            return Binary(op, a, b)  # always undecided, and stays so
        return Const(binary(op, a.value, b.value))
    if op in COMMUTATIVE_OPS and isinstance(a, Const):
        a, b = b, a
    if isinstance(b, Const):
        return _constant_right(op, a, b.value)
    if isinstance(a, Const) and a.value == 0:
        if op == "sub":
            return _unary(Unary("neg", b))
        # 0 < x
        if op == "ult":
            return _binary("ne", b, FALSE)
        if op == "ule" and always_decided(b):
            return TRUE
    if a == b and op in _SAME and always_decided(a):
        return Const(_SAME[op])
    if a == b and op in ("and", "or"):
        return a  # undecided once or twice is the same
    return Binary(op, a, b)


def _constant_right(op: BinaryOp, a: Expr, number: int) -> Expr:
    if _IDENTITY.get(op) == number:
        return a
    if (
        (op in ("mul", "and") and number == 0)
        or (op in ("shl", "lshr") and number >= WORD_BITS)
        or (op in ("urem", "srem") and number == 1)
        or (op == "ult" and number == 0)
    ) and always_decided(a):
        return FALSE
    if op == "or" and number == WORD_MASK and always_decided(a):
        return Const(WORD_MASK)
    if op == "ule" and number == WORD_MASK and always_decided(a):
        return TRUE
    if op == "xor" and number == WORD_MASK:
        return _unary(Unary("not", a))
    if op == "sub":
        return _binary("add", a, const(-number))
    if number.bit_count() == 1:
        power = number.bit_length() - 1
        if op == "udiv":
            return _binary("lshr", a, Const(power))
        if op == "urem":
            return _binary("and", a, Const(number - 1))
    if op in _ASSOCIATIVE and isinstance(a, Binary) and a.op == op and isinstance(a.b, Const):
        return _binary(op, a.a, Const(binary(op, a.b.value, number)))
    if op in ("eq", "ne"):
        return _equality(op, a, number)
    if op == "ult" and number == 1:
        return _binary("eq", a, FALSE)
    if op == "ule" and number == 0:
        return _binary("eq", a, FALSE)
    if op == "and":
        return _mask(a, number)
    if op == "ashr":
        return _sign_extension(a, number)
    return Binary(op, a, Const(number))


def _equality(op: BinaryOp, a: Expr, number: int) -> Expr:
    if is_boolean(a) and number <= 1:
        same = (op == "eq") == (number == 1)
        return a if same else _unary(Unary("lnot", a))
    match a:
        case Binary("add", x, Const(more)):
            return _binary(op, x, const(number - more))
        case Binary("xor", x, Const(more)):
            return _binary(op, x, Const(number ^ more))
        case Binary("sub" | "xor", x, y) if number == 0:
            return _binary(op, x, y)
        case Unary("neg", x):
            return _binary(op, x, const(-number))
        case Unary("not", x):
            return _binary(op, x, Const(number ^ WORD_MASK))
    if op == "eq" and number == 0 and not is_boolean(a):
        return Unary("lnot", a)
    return Binary(op, a, Const(number))


def _mask(a: Expr, mask: int) -> Expr:
    """Drop a mask that only clears what is clear already."""
    match a:
        case Load(addr, size, signed):
            whole = (1 << 8 * size) - 1
            if not signed and mask & whole == whole:
                return a
            # The low bytes of what was sign-extended are the same without that.
            if signed and mask & whole == mask:
                return _binary("and", Load(addr, size), Const(mask))
        case Binary("lshr", _, Const(count)) if count < WORD_BITS:
            if mask & (WORD_MASK >> count) == WORD_MASK >> count:
                return a
        case _ if is_boolean(a) and mask & 1:
            return a
    return Binary("and", a, Const(mask))


def _sign_extension(a: Expr, count: int) -> Expr:
    """(x << n) >> n, signed, is what casts to i8, i16 and i32 are."""
    match a:
        case Binary("shl", x, Const(left)) if left == count < WORD_BITS:
            kept = WORD_MASK >> count
            match x:
                case Load(addr, size) if count == WORD_BITS - 8 * size:
                    return Load(addr, size, signed=True)
                case Load(_, size, signed) if 8 * size <= WORD_BITS - count - (not signed):
                    return x
                # A mask of bits that are shifted out anyway.
                case Binary("and", y, Const(mask)) if mask & kept == kept:
                    return _binary("ashr", _binary("shl", y, Const(left)), Const(count))
    return Binary("ashr", a, Const(count))
