"""The text of a condition: a Python expression, made into the IR.

    parse("rdi > 1 << 20 and u8[rsi] == 0x2f")

docs/conditions.md has the grammar and the meaning.
"""

from __future__ import annotations

import ast
import keyword
import re
import warnings
from collections.abc import Sequence
from typing import Final

from relive.conditions.building import comparison, masked_bits
from relive.conditions.errors import ParseError
from relive.conditions.ir import (
    MAX_DEPTH,
    WORD_BITS,
    Binary,
    BinaryOp,
    Const,
    Expr,
    Select,
    Unary,
    all_of,
    any_of,
    check,
)
from relive.conditions.naming import Naming
from relive.conditions.operands import Names
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

_ARITHMETIC: Final[dict[type[ast.operator], BinaryOp]] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul",
    ast.BitAnd: "and", ast.BitOr: "or", ast.BitXor: "xor",
}  # fmt: skip
_DIVISION: Final[dict[type[ast.operator], tuple[BinaryOp, BinaryOp]]] = {
    ast.FloorDiv: ("udiv", "sdiv"),
    ast.Mod: ("urem", "srem"),
}

_KEYWORDS: Final = frozenset(
    ("and", "or", "not", "in", "is", "if", "else", "True", "False", "None")
)

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
    (re.compile(r"::"), ":: is not an operator here", "write var('space::name')"),
    (re.compile(r"(?:^|[(=<>,]|\b(?:and|or|not|in)\b)\s*(&)(?=\s*[A-Za-z_(])"),
     "& in front of a variable is not possible", "write `addr(variable)`"),
    (re.compile(r"(?:^|[(=<>,+/%-]|\b(?:and|or|not|in)\b)\s*(\*)(?=\s*[A-Za-z_(*])"),
     "* in front of a pointer is not possible", "write `pointer[0]`"),
    (re.compile(r"sizeof\s*\(\s*((?:(?:struct|union|enum|unsigned|signed|const)\s+)[^)'\"]*)\)"),
     "a type is written in quotes", "write `sizeof('struct name')`"),
    (re.compile(r"\((?:(?:struct|union|enum|unsigned|signed|const)\s+)*[A-Za-z_]\w*\s*\**\s*\)(?=\s*[A-Za-z_0-9(])"),
     "a type in parentheses is not possible", "write `cast('type', value)`"),
)  # fmt: skip


def parse(text: str, names: Names | None = None) -> Expr:
    """The condition that `text` says.

    names: more names, consulted after the registers.  Raises ParseError, which knows the column.
    """
    return parse_value(text, names).expr


def parse_value(text: str, names: Names | None = None) -> Value:
    """As `parse`, with the signedness of the result: for values to be collected and shown."""
    return _Parser(text, names or {}).run()


class _Parser(Naming):
    def __init__(self, text: str, names: Names) -> None:
        self.text = text
        self.names = names
        self.depth = 0
        # Same columns, one line; a form feed or a line break means nothing in an expression.
        self.line = re.sub(r"[\n\r\f\v\t]", " ", text)
        self.indent = len(self.line) - len(self.line.lstrip())

    def run(self) -> Value:
        body = self.tree().body
        value = self.visit(body)
        self.check_whole(body, value)
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

    def fault(
        self, node: ast.expr, what: str, hint: str = "", *, curable: bool = False
    ) -> ParseError:
        start = self.column(node.col_offset)
        end = self.column(node.end_col_offset or node.col_offset)
        return ParseError(self.text, start, end - start, what, hint, curable=curable)

    def column(self, byte: int) -> int:
        """The character in the text; the tree counts bytes of UTF-8."""
        body = self.line[self.indent :]
        return self.indent + len(body.encode()[:byte].decode(errors="ignore"))

    def syntax_fault(self, error: SyntaxError) -> ParseError:
        for pattern, what, hint in _HABITS:
            if found := pattern.search(self.line):
                start, end = found.span(found.lastindex or 0)
                return self.fault_at(start, end - start, what, hint)
        for word in re.finditer(r"[^\W\d]\w*", self.line):
            if keyword.iskeyword(word.group()) and word.group() not in _KEYWORDS:
                what = f"{word.group()} is a word of Python"
                hint = f"write var('{word.group()}'); for a member whole['{word.group()}']"
                return self.fault_at(word.start(), len(word.group()), what, hint)
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

    def truth(self, node: ast.expr) -> Expr:
        """A value of which it matters whether it is 0."""
        value = self.visit(node)
        self.check_whole(node, value)
        return value.expr

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
                terms = [self.truth(operand) for operand in operands]
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

    def unary(self, node: ast.UnaryOp) -> Value:
        if isinstance(node.op, ast.Not):
            return boolean(Unary("lnot", self.truth(node.operand)))
        a = self.visit(node.operand)
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
        if (moved := self.moved(node, a, b)) is not None:
            return moved
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
        if a.kind is Kind.EITHER:
            kind = Kind.EITHER
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
        left, before = self.visit(node.left), node.left
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
            for one, other, place in ((left, value, before), (value, left, right)):
                if other.is_literal and other.operand is None:
                    self.check_whole(place, one)
            try:
                terms.append(comparison(operator, left, value))
            except SignError as error:
                first, end = self.column(start), self.column(right.end_col_offset or start)
                raise self.fault_at(first, end - first, error.what, error.hint) from None
            left, start, before = value, right.col_offset, right
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
        condition = self.truth(node.test)
        a, b = self.visit(node.body), self.visit(node.orelse)
        kind = sign_sensitive_kind(a, b)
        return Value(Select(condition, a.expr, b.expr), kind)
