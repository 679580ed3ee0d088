"""The part of the parser of conditions that is about names, and what can be made of them."""

from __future__ import annotations

import ast
import re
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from relive.arch.x86_64_parts import PARTS
from relive.conditions.building import cast_to, part_expr
from relive.conditions.errors import ConditionError, ParseError
from relive.conditions.ir import Binary, Const, Expr, Hits, Load, Size, Unary, word
from relive.conditions.operands import Names, Operand, Scope, Unknown, operand
from relive.conditions.values import Kind, Value, literal
from relive.errors import ReliveError

if TYPE_CHECKING:
    from collections.abc import Iterator

TYPES: Final[dict[str, tuple[Size, bool]]] = {
    "u8": (1, False), "u16": (2, False), "u32": (4, False), "u64": (8, False),
    "i8": (1, True), "i16": (2, True), "i32": (4, True), "i64": (8, True),
}  # fmt: skip
"""Bytes and signedness of what `u8[...]` loads and `u8(...)` casts to."""

FUNCTIONS: Final = ("var", "addr", "cast", "sizeof")
_RESERVED: Final = frozenset(TYPES) | {"hits", "range", "True", "False"}
_POINTER_STEPS: Final = (ast.Add, ast.Sub)


class Naming(ABC):
    """What a parser knows of names.

    raw: the operand being read is an address in the brackets of `u8[...]`.
    """

    names: Names
    raw: bool = False

    @abstractmethod
    def visit(self, node: ast.expr) -> Value:
        """The value of an expression.  Raises ParseError."""

    @abstractmethod
    def fault(
        self, node: ast.expr, what: str, hint: str = "", *, curable: bool = False
    ) -> ParseError:
        """An error at an expression."""

    @contextmanager
    def reading(self, *, raw: bool) -> Iterator[None]:
        """Whether what is read meanwhile is an address for a load."""
        before, self.raw = self.raw, raw
        try:
            yield
        finally:
            self.raw = before

    @contextmanager
    def at(self, node: ast.expr) -> Iterator[None]:
        """Errors of operands become errors at an expression."""
        try:
            yield
        except ParseError:
            raise
        except ReliveError as error:  # also one about the description of a type
            curable = isinstance(error, ConditionError) and error.curable
            raise self.fault(node, error.message, error.hint, curable=curable) from None

    def check_whole(self, node: ast.expr, value: Value) -> None:
        """Refuse a value that makes no sense by itself."""
        if value.operand is not None:
            with self.at(node):
                value.operand.check_whole()

    # -- values

    def named(self, node: ast.expr) -> Value:
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
        found = self.operand(node)
        with self.at(node):
            return found.address_value() if self.raw else found.value()

    def subscript(self, node: ast.Subscript) -> Value:
        if isinstance(node.slice, ast.Slice | ast.Tuple):
            raise self.fault(node.slice, "one address is needed here")
        if not (isinstance(node.value, ast.Name) and node.value.id in TYPES):
            if isinstance(node.value, ast.Name) and node.value.id in PARTS:
                raise self.fault(
                    node, "a load needs a size", f"write u64[{node.value.id} + offset]"
                )
            return self.named(node)
        size, signed = TYPES[node.value.id]
        with self.reading(raw=True):
            address = self.visit(node.slice)
        if address.is_literal and address.literal < 0:
            raise self.fault(node.slice, "an address is not negative")
        kind = Kind.SIGNED if signed else Kind.UNSIGNED
        return Value(Load(address.expr, size, signed), kind, bits=8 * size)

    def call(self, node: ast.Call) -> Value:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name == "range":
            raise self.fault(node, "range is only possible after `in`")
        if name == "sizeof":
            return literal(self.sizeof(node))
        if name in FUNCTIONS:
            return self.named(node)
        if name not in TYPES:
            raise self.fault(
                node.func,
                "functions can't be called in a condition",
                "conversions are u8 u16 u32 u64 i8 i16 i32 i64; there are"
                " addr(...), cast(...), sizeof(...) and var(...)",
            )
        if len(node.args) != 1 or node.keywords or isinstance(node.args[0], ast.Starred):
            raise self.fault(node, f"{name}(...) takes one value")
        with self.reading(raw=False):
            return cast_to(self.visit(node.args[0]), *TYPES[name])

    def moved(self, node: ast.BinOp, a: Value, b: Value) -> Value | None:
        """`a + b` or `a - b` where one is a pointer, as C counts; None when none is."""
        steps = [value.operand.step if value.operand else None for value in (a, b)]
        if steps == [None, None] or not isinstance(node.op, _POINTER_STEPS):
            return None
        minus = isinstance(node.op, ast.Sub)
        with self.at(node):
            if None not in steps:
                if not minus:
                    raise ConditionError("two pointers can't be added")
                if steps[0] != steps[1] or not steps[0]:
                    raise ConditionError(
                        "these pointers point to elements of different sizes, or of no known size",
                        "write u64(...) around them to subtract addresses",
                    )
                distance = Binary("sub", a.expr, b.expr)
                return Value(Binary("sdiv", distance, Const(steps[0])), Kind.SIGNED)
            pointer, count = (a, b) if steps[0] is not None else (b, a)
            if minus and pointer is b:
                raise ConditionError("a pointer can't be subtracted from a number")
            assert pointer.operand is not None
            step = pointer.operand.step or 0
            if self.raw and step != 1:
                raise ConditionError(
                    f"this pointer moves by elements of {step} bytes, not by bytes",
                    "write u64(pointer) + offset to count bytes, addr(pointer[index]) elements",
                )
            if count.is_literal:
                by: Expr = Const(word((-1 if minus else 1) * count.literal * step))
            else:
                by = count.expr if step == 1 else Binary("mul", count.expr, Const(step))
                by = Unary("neg", by) if minus else by
            return pointer.operand.moved(by).value()

    # -- operands

    def operand(self, node: ast.expr) -> Operand:
        """What a name, a member, an element or one of the functions stands for."""
        with self.at(node):
            match node:
                case ast.Name(id=name):
                    return self.name(node, name)
                case ast.Attribute(value=whole, attr=name):
                    return self.operand(whole).member(name)
                case ast.Subscript(value=whole, slice=ast.Constant(value=str(name))):
                    return self.operand(whole).member(name)
                case ast.Subscript(value=whole, slice=index):
                    found = self.operand(whole)
                    if isinstance(index, ast.Slice | ast.Tuple):
                        raise self.fault(index, "one address is needed here")
                    with self.reading(raw=False):
                        return found.element(self.visit(index).expr)
                case ast.Call(func=ast.Name(id="var")):
                    return self.variable(node)
                case ast.Call(func=ast.Name(id="cast")):
                    return self.cast(node)
                case ast.Call(func=ast.Name(id="addr")):
                    (inner,) = self.arguments(node, "addr(...) takes one variable", 1)
                    return self.operand(inner).address()
        with self.reading(raw=False):
            value = self.visit(node)
        if value.kind is Kind.EITHER:
            return Unknown()
        if value.operand is None:
            raise self.fault(node, "only names have members and elements")
        return value.operand

    def name(self, node: ast.Name, name: str) -> Operand:
        if name in PARTS or name in _RESERVED:
            hint = ""
            if name in PARTS:
                hint = (
                    f"{name} is the register: write cast('struct name *', {name}) to say what it"
                    f" points to, var('{name}') for a variable"
                )
            raise self.fault(node, f"{name} has no members or elements", hint)
        known = self.names.get(name)
        if known is None:
            raise self.unknown(node)
        return operand(known)

    def unknown(self, node: ast.Name) -> ParseError:
        if re.fullmatch(r"([xyz]?mm|st|k|cr|dr)\d+|mxcsr", node.id.lower()):
            return self.fault(
                node,
                f"{node.id} is not a register that conditions know",
                "general registers, rip, eflags, segment registers and bases are",
            )
        hint = did_you_mean(node.id, [*PARTS, *_RESERVED, *FUNCTIONS, *self.names])
        if isinstance(self.names, Scope):
            hint = "; ".join(filter(None, (hint, self.names.unknown(node.id))))
        return self.fault(node, f"unknown name {node.id}", hint, curable=True)

    # -- functions

    def arguments(self, node: ast.Call, what: str, count: int) -> list[ast.expr]:
        starred = any(isinstance(one, ast.Starred) for one in node.args)
        if len(node.args) != count or node.keywords or starred:
            raise self.fault(node, what)
        return node.args

    def scope(self, node: ast.Call) -> Scope:
        if not isinstance(self.names, Scope):
            raise self.fault(node, "variables and types are not known here")
        return self.names

    def variable(self, node: ast.Call) -> Operand:
        what = "var(...) takes the name of a variable in quotes"
        (argument,) = self.arguments(node, what, 1)
        if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
            raise self.fault(argument, what)
        try:
            return operand(self.scope(node).variable(argument.value))
        except KeyError:
            scope = self.scope(node)
            near = did_you_mean(argument.value, [*scope])
            hint = "; ".join(filter(None, (near, scope.unknown(argument.value))))
            what = f"unknown name {argument.value}"
            raise self.fault(argument, what, hint, curable=True) from None

    def type_name(self, node: ast.expr) -> str:
        match node:
            case ast.Constant(value=str(name)) | ast.Name(id=name):
                return name
        raise self.fault(node, "a type is written in quotes: 'struct name *'")

    def cast(self, node: ast.Call) -> Operand:
        what = "cast(...) takes a type in quotes and a value"
        kind, argument = self.arguments(node, what, 2)
        name = self.type_name(kind)
        with self.reading(raw=False):
            value = self.visit(argument)
        scope = self.scope(node)
        with self.at(kind):
            return scope.cast(name, value)

    def sizeof(self, node: ast.Call) -> int:
        (argument,) = self.arguments(node, "sizeof(...) takes a type in quotes or a variable", 1)
        is_type = isinstance(argument, ast.Constant)
        if isinstance(argument, ast.Name) and isinstance(self.names, Scope):
            with self.at(argument):
                is_type = self.names.get(argument.id) is None
        if is_type:
            scope = self.scope(node)
            with self.at(argument):
                return scope.size_of(self.type_name(argument))
        with self.at(argument):
            return self.operand(argument).size()


def did_you_mean(name: str, every: list[str]) -> str:
    """The nearest of some names as a hint, "" when none is near."""
    import difflib  # only needed to be kind

    lower = {one.lower(): one for one in reversed(every)}
    close = difflib.get_close_matches(name.lower(), lower, n=1)
    return f"did you mean {lower[close[0]]}?" if close else ""
