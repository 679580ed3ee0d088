"""The text of a condition: a Python expression, made into the IR.

    parse("rdi > 1 << 20 and u8[rsi] == 0x2f")

docs/conditions.md has the grammar and the meaning.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from relive.arch.x86_64_parts import PARTS
from relive.conditions.building import cast_to, comparison, masked_bits, part_expr
from relive.conditions.errors import ConditionError, ParseError
from relive.conditions.ir import (
    MAX_DEPTH,
    WORD_BITS,
    Binary,
    BinaryOp,
    Const,
    Expr,
    Hits,
    Load,
    Select,
    Size,
    Unary,
    all_of,
    any_of,
    check,
)
from relive.conditions.values import (
    SIGNED_MAX,
    Kind,
    SignError,
    Value,
    boolean,
    joint_kind,
    literal,
    sign_sensitive_kind,
)

MAX_TEXT: Final = 100_000
"""Characters of a condition."""

TYPES: Final[dict[str, tuple[Size, bool]]] = {
    "u8": (1, False), "u16": (2, False), "u32": (4, False), "u64": (8, False),
    "i8": (1, True), "i16": (2, True), "i32": (4, True), "i64": (8, True),
}  # fmt: skip
"""Bytes and signedness of what `u8[...]` loads and `u8(...)` casts to."""


@dataclass(frozen=True)
class Symbol:
    """What a name stands for, when whoever parses knows more names than registers.

    expr: its value.  signed: whether its word is a signed number.  bits: of its type; the word is
    extended from them.
    A subclass may know members (`name.member`) and elements (`name[index]`).
    """

    expr: Expr
    signed: bool = False
    bits: int = WORD_BITS

    def member(self, name: str) -> Symbol:
        """The member called `name`.  Raises ConditionError when there is none."""
        raise ConditionError(f"this has no member {name}")

    def element(self, index: Expr) -> Symbol:
        """The element with this index.  Raises ConditionError when there are none."""
        raise ConditionError("this is not an array")


Names: TypeAlias = Mapping[str, Symbol | Expr | int]
"""More names: an int is a literal (an address, an enumerator), an expression is unsigned.
Registers, types and keywords of the language come first."""

_ARITHMETIC: Final[dict[type[ast.operator], BinaryOp]] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul",
    ast.BitAnd: "and", ast.BitOr: "or", ast.BitXor: "xor",
}  # fmt: skip
_DIVISION: Final[dict[type[ast.operator], tuple[BinaryOp, BinaryOp]]] = {
    ast.FloorDiv: ("udiv", "sdiv"),
    ast.Mod: ("urem", "srem"),
}
_RESERVED: Final = frozenset(TYPES) | {"hits", "range", "True", "False"}

# What people write who think in C, gdb or assembly, and what to write instead.
_HABITS: Final = (
    (re.compile(r"&&"), "&& is not an operator here", "write `and`"),
    (re.compile(r"\|\|"), "|| is not an operator here", "write `or`"),
    (re.compile(r"!(?!=)"), "! is not an operator here", "write `not`"),
    (re.compile(r"->"), "-> is not an operator here", "write `pointer.member`"),
    (re.compile(r"\?"), "?: is not an operator here", "write `a if condition else b`"),
    (re.compile(r"\$\w*"), "names are written without $", ""),
    (re.compile(r"%(?=[a-z]+[a-z0-9]*\b)(?<![\w)\]]%)(?<![\w)\]] %)"),
     "registers are written without %", ""),
    (re.compile(r"(?<![=!<>:])=(?!=)"), "a condition can't assign", "write == to compare"),
    (re.compile(r"#"), "a condition has no comments", ""),
)  # fmt: skip


def parse(text: str, names: Names | None = None) -> Expr:
    """The condition that `text` says.

    names: more names, consulted after the registers.  Raises ParseError, which knows the column.
    """
    return parse_value(text, names).expr


def parse_value(text: str, names: Names | None = None) -> Value:
    """As `parse`, with the signedness of the result: for values to be collected and shown."""
    return _Parser(text, names or {}).run()


class _Parser:
    def __init__(self, text: str, names: Names) -> None:
        self.text = text
        self.names = names
        self.depth = 0
        # Same columns, one line; a form feed or a line break means nothing in an expression.
        self.line = re.sub(r"[\n\r\f\v\t]", " ", text)
        self.indent = len(self.line) - len(self.line.lstrip())

    def run(self) -> Value:
        value = self.visit(self.tree().body)
        try:
            check(value.expr)
        except ValueError as error:
            raise self.fault_at(0, len(self.text), str(error)) from None
        return value

    def tree(self) -> ast.Expression:
        if len(self.text) > MAX_TEXT:
            raise self.fault_at(MAX_TEXT, 1, f"the condition is longer than {MAX_TEXT} characters")
        if not self.line.strip():
            raise self.fault_at(0, 1, "the condition is empty")
        if comment := self.line.find("#") + 1:
            raise self.fault_at(comment - 1, 1, "a condition has no comments")
        try:
            with warnings.catch_warnings():
                # `1if rax else 2` and the like: warnings become errors with a column.
                warnings.simplefilter("error")
                return ast.parse(self.line.lstrip(), mode="eval")
        except SyntaxError as error:
            raise self.syntax_fault(error) from None
        except (RecursionError, MemoryError):
            raise self.fault_at(0, len(self.text), "the condition is nested too deeply") from None
        except ValueError as error:  # NUL characters, lone surrogates
            raise self.fault_at(0, len(self.text), f"this is not text: {error}") from None

    # Errors

    def fault_at(self, column: int, length: int, what: str, hint: str = "") -> ParseError:
        return ParseError(self.text, column, length, what, hint)

    def fault(self, node: ast.expr, what: str, hint: str = "") -> ParseError:
        start = self.column(node.col_offset)
        end = self.column(node.end_col_offset or node.col_offset)
        return self.fault_at(start, end - start, what, hint)

    def column(self, byte: int) -> int:
        """The character in the text; the tree counts bytes of UTF-8."""
        body = self.line[self.indent :]
        return self.indent + len(body.encode()[:byte].decode(errors="ignore"))

    def syntax_fault(self, error: SyntaxError) -> ParseError:
        for pattern, what, hint in _HABITS:
            if found := pattern.search(self.line):
                return self.fault_at(found.start(), len(found.group()), what, hint)
        start = self.indent + max((error.offset or 1) - 1, 0)
        end = self.indent + max((error.end_offset or 0) - 1, 0)
        if error.offset == 0:  # how Python says: at the end
            start = end = len(self.line.rstrip())
        what = error.msg.partition(". ")[0]
        what = what[0].lower() + what[1:]
        if what.startswith("invalid syntax"):
            what = "an operand is missing" if start >= len(self.line.rstrip()) else "unexpected"
            if what == "unexpected":
                token = re.match(r"\w+|\W", self.line[start:])
                what = f"unexpected {token.group()!r}" if token else "unexpected end"
        return self.fault_at(start, min(end, len(self.text)) - start, what)

    # Expressions

    def visit(self, node: ast.expr) -> Value:
        self.depth += 1
        if self.depth > 2 * MAX_DEPTH:
            raise self.fault(node, "the condition is nested too deeply")
        try:
            return self.dispatch(node)
        except SignError as error:
            raise self.fault(node, error.what, error.hint) from None
        except OverflowError as error:
            raise self.fault(node, str(error)) from None
        finally:
            self.depth -= 1

    def dispatch(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant(value=number):
                return self.constant(node, number)
            case ast.Name() | ast.Attribute():
                return self.named(node)
            case ast.Subscript():
                return self.subscript(node)
            case ast.Call():
                return self.call(node)
            case ast.UnaryOp():
                return self.unary(node)
            case ast.BinOp():
                return self.binary(node)
            case ast.Compare():
                return self.compare(node)
            case ast.BoolOp(op=operator, values=operands):
                terms = [self.visit(operand).expr for operand in operands]
                return boolean(all_of(terms) if isinstance(operator, ast.And) else any_of(terms))
            case ast.IfExp():
                return self.choice(node)
            case ast.Tuple() | ast.List() | ast.Set():
                raise self.fault(node, "a list of values is only possible after `in`")
            case ast.NamedExpr():
                raise self.fault(node, "a condition can't assign", "write == to compare")
            case _:
                raise self.fault(node, "this kind of expression is not possible in a condition")

    def constant(self, node: ast.Constant, number: object) -> Value:
        if isinstance(number, int):  # True and False too
            return literal(int(number))
        if isinstance(number, str | bytes):
            data = number.encode(errors="replace") if isinstance(number, str) else number
            hint = f"write {data[0]:#x} for this character" if len(data) == 1 else ""
            raise self.fault(node, "text is not possible in a condition", hint)
        if isinstance(number, float | complex):
            raise self.fault(node, "only whole numbers are possible in a condition")
        raise self.fault(
            node, f"{number} is not possible in a condition", "write 0 for a null pointer"
        )

    def named(self, node: ast.Name | ast.Attribute) -> Value:
        if isinstance(node, ast.Name):
            if part := PARTS.get(node.id):
                return Value(part_expr(part), bits=part.bits)
            if node.id == "hits":
                return Value(Hits())
            if node.id in TYPES:
                raise self.fault(
                    node,
                    f"{node.id} alone is not a value",
                    f"write {node.id}[address] to load from memory, {node.id}(value) to convert",
                )
        found = self.symbol(node)
        if isinstance(found, int):
            return literal(found)
        return of_symbol(found)

    def symbol(self, node: ast.expr) -> Symbol | int:
        """What a name, a member or an element stands for, as the caller of `parse` knows it."""
        try:
            match node:
                case ast.Name(id=name):
                    if name in PARTS or name in _RESERVED:
                        raise self.fault(node, f"{name} has no members or elements")
                    known = self.names.get(name)
                    if known is None:
                        raise self.unknown(node)
                    return known if isinstance(known, Symbol | int) else Symbol(known)
                case ast.Attribute(value=whole, attr=name):
                    found = self.symbol(whole)
                    if isinstance(found, int):
                        raise self.fault(
                            node,
                            "a number has no members",
                            "the name stands for an address: write u32[name + offset]",
                        )
                    return found.member(name)
                case ast.Subscript(value=whole, slice=index):
                    found = self.symbol(whole)
                    if isinstance(found, int):
                        raise self.fault(
                            node,
                            "a number has no elements",
                            "the name stands for an address: write u32[name + 4 * index]",
                        )
                    return found.element(self.visit(index).expr)
                case _:
                    raise self.fault(node, "only names have members and elements")
        except ParseError:
            raise
        except ConditionError as error:
            raise self.fault(node, error.message, error.hint) from None

    def unknown(self, node: ast.Name) -> ParseError:
        import difflib  # only needed to be kind

        if re.fullmatch(r"([xyz]?mm|st|k|cr|dr)\d+|mxcsr", node.id.lower()):
            return self.fault(
                node,
                f"{node.id} is not a register that conditions know",
                "general registers, rip, eflags, segment registers and bases are",
            )
        every = [*PARTS, *_RESERVED, *self.names]
        if close := difflib.get_close_matches(node.id.lower(), every, n=1):
            return self.fault(node, f"unknown name {node.id}", f"did you mean {close[0]}?")
        return self.fault(node, f"unknown name {node.id}")

    def subscript(self, node: ast.Subscript) -> Value:
        if isinstance(node.slice, ast.Slice | ast.Tuple):
            raise self.fault(node.slice, "one address is needed here")
        if not (isinstance(node.value, ast.Name) and node.value.id in TYPES):
            if isinstance(node.value, ast.Name) and node.value.id in PARTS:
                raise self.fault(
                    node, "a load needs a size", f"write u64[{node.value.id} + offset]"
                )
            found = self.symbol(node)
            assert not isinstance(found, int), "elements are symbols"
            return of_symbol(found)
        size, signed = TYPES[node.value.id]
        address = self.visit(node.slice)
        if address.is_literal and address.literal < 0:
            raise self.fault(node.slice, "an address is not negative")
        kind = Kind.SIGNED if signed else Kind.UNSIGNED
        return Value(Load(address.expr, size, signed), kind, bits=8 * size)

    def call(self, node: ast.Call) -> Value:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name == "range":
            raise self.fault(node, "range is only possible after `in`")
        if name not in TYPES:
            raise self.fault(
                node.func,
                "functions can't be called in a condition",
                "conversions are u8 u16 u32 u64 i8 i16 i32 i64",
            )
        if len(node.args) != 1 or node.keywords or isinstance(node.args[0], ast.Starred):
            raise self.fault(node, f"{name}(...) takes one value")
        return cast_to(self.visit(node.args[0]), *TYPES[name])

    def unary(self, node: ast.UnaryOp) -> Value:
        a = self.visit(node.operand)
        if isinstance(node.op, ast.Not):
            return boolean(Unary("lnot", a.expr))
        if isinstance(node.op, ast.UAdd):
            return a
        if a.is_literal:
            return literal(-a.literal if isinstance(node.op, ast.USub) else ~a.literal)
        return Value(Unary("neg" if isinstance(node.op, ast.USub) else "not", a.expr), a.kind)

    def binary(self, node: ast.BinOp) -> Value:
        if isinstance(node.op, ast.Div):
            raise self.fault(
                node, "/ is not possible in a condition", "write // to divide whole numbers"
            )
        if isinstance(node.op, ast.Pow | ast.MatMult):
            raise self.fault(node, "this operator is not possible in a condition")
        a, b = self.visit(node.left), self.visit(node.right)
        if a.is_literal and b.is_literal:
            return self.exact(node, a.literal, b.literal)
        if isinstance(node.op, ast.LShift | ast.RShift):
            return self.shift(node, a, b)
        if pair := _DIVISION.get(type(node.op)):
            if b.is_literal and b.literal == 0:
                raise self.fault(node.right, "division by zero")
            kind = sign_sensitive_kind(a, b)
            return Value(Binary(pair[kind is Kind.SIGNED], a.expr, b.expr), kind)
        kind = joint_kind(a, b)
        bits = WORD_BITS
        if isinstance(node.op, ast.BitAnd) and kind is Kind.UNSIGNED:
            bits = min(masked_bits(a), masked_bits(b))
        return Value(Binary(_ARITHMETIC[type(node.op)], a.expr, b.expr), kind, bits)

    def shift(self, node: ast.BinOp, a: Value, b: Value) -> Value:
        if b.is_literal and b.literal < 0:
            raise self.fault(node.right, "a shift count is not negative")
        kind = Kind.SIGNED if a.signed else Kind.UNSIGNED
        if isinstance(node.op, ast.LShift):
            return Value(Binary("shl", a.expr, b.expr), kind)
        return Value(Binary("ashr" if a.signed else "lshr", a.expr, b.expr), kind)

    def exact(self, node: ast.BinOp, a: int, b: int) -> Value:
        """Two literals: computed as whole numbers, not as words."""
        match node.op:
            case ast.Add():
                return literal(a + b)
            case ast.Sub():
                return literal(a - b)
            case ast.Mult():
                return literal(a * b)
            case ast.BitAnd():
                return literal(a & b)
            case ast.BitOr():
                return literal(a | b)
            case ast.BitXor():
                return literal(a ^ b)
            case ast.LShift() | ast.RShift() if b < 0:
                raise self.fault(node.right, "a shift count is not negative")
            case ast.LShift():
                return literal(a << min(b, 2 * WORD_BITS))
            case ast.RShift():
                return literal(a >> b)
            case _ if b == 0:
                raise self.fault(node.right, "division by zero")
        quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
        return literal(quotient if isinstance(node.op, ast.FloorDiv) else a - quotient * b)

    def compare(self, node: ast.Compare) -> Value:
        terms: list[Value] = []
        start = node.col_offset
        # Each operand is visited once: in a chain it belongs to two comparisons.
        left = self.visit(node.left)
        for operator, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(operator, ast.In | ast.NotIn):
                if len(node.ops) > 1:
                    raise self.fault(node, "`in` can't be chained", "use parentheses or `and`")
                inside = self.member(left, right)
                if isinstance(operator, ast.NotIn):
                    return boolean(Unary("lnot", inside))
                return boolean(inside)
            if isinstance(operator, ast.Is | ast.IsNot):
                raise self.fault(node, "`is` is not possible in a condition", "write == or !=")
            value = self.visit(right)
            try:
                terms.append(comparison(operator, left, value))
            except SignError as error:
                first, end = self.column(start), self.column(right.end_col_offset or start)
                raise self.fault_at(first, end - first, error.what, error.hint) from None
            left, start = value, right.col_offset
        if len(terms) == 1:
            return terms[0]
        return boolean(all_of([term.expr for term in terms]))

    def member(self, value: Value, right: ast.expr) -> Expr:
        """Whether a value is in the list or the range that `right` says."""
        match right:
            case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items):
                return any_of([self.equals(value, item) for item in items])
            case ast.Call(func=ast.Name(id="range"), args=arguments, keywords=[]):
                return self.in_range(value, right, arguments)
            case _:
                raise self.fault(
                    right,
                    "`in` needs a list of values or a range",
                    "write (1, 2, 3), [1, 2, 3] or range(first, end); one value is (1,)",
                )

    def equals(self, value: Value, item: ast.expr) -> Expr:
        try:
            return comparison(ast.Eq(), value, self.visit(item)).expr
        except SignError as error:
            raise self.fault(item, error.what, error.hint) from None

    def in_range(self, value: Value, node: ast.expr, arguments: Sequence[ast.expr]) -> Expr:
        """first <= value < end, and (value - first) a multiple of the step."""
        if not 1 <= len(arguments) <= 3:
            raise self.fault(node, "range takes an end; or first, end; or first, end, step")
        bounds = [self.visit(argument) for argument in arguments]
        step = bounds.pop() if len(bounds) == 3 else literal(1)
        if not step.is_literal or not 1 <= step.literal <= SIGNED_MAX:
            raise self.fault(arguments[-1], "a step is a positive number")
        if len(bounds) == 1:
            bounds.insert(0, literal(0))
        first, end = bounds
        try:
            terms = [
                comparison(ast.LtE(), first, value).expr,
                comparison(ast.Lt(), value, end).expr,
            ]
        except SignError as error:
            raise self.fault(node, error.what, error.hint) from None
        if step.literal > 1:
            # Not negative after the first comparison, so the unsigned remainder is right.
            distance = Binary("sub", value.expr, first.expr)
            remainder = Binary("urem", distance, step.expr)
            terms.append(Binary("eq", remainder, Const(0)))
        return all_of(terms)

    def choice(self, node: ast.IfExp) -> Value:
        condition = self.visit(node.test)
        a, b = self.visit(node.body), self.visit(node.orelse)
        kind = sign_sensitive_kind(a, b)
        return Value(Select(condition.expr, a.expr, b.expr), kind)


def of_symbol(symbol: Symbol) -> Value:
    """The value of a name that the caller of `parse` knows."""
    return Value(symbol.expr, Kind.SIGNED if symbol.signed else Kind.UNSIGNED, symbol.bits)
