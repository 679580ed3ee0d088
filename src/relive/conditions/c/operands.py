"""What can be done with a C variable in a condition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from relive.conditions.c.places import Memory, Place, Word, plus
from relive.conditions.errors import ConditionError, NotYetKnown
from relive.conditions.ir import Binary, Const, Expr
from relive.conditions.operands import Operand
from relive.conditions.values import Kind, Value, literal
from relive.symbols.dwarf.types import (
    Array,
    Base,
    CType,
    Enum,
    Function,
    Pointer,
    Struct,
    Void,
)

Complete = Callable[[Struct], Struct]
"""The full description of a structure of which only the name is known here, if there is one."""


@dataclass(frozen=True)
class Object(Operand):
    """A variable, or what a pointer points to, or a value that a cast gave a type.

    text: how the user would name it.  fixed: it has a symbol, whose name stands for its address
    in the brackets of a load.
    """

    type: CType
    place: Place
    text: str
    complete: Complete
    fixed: bool = False

    # -- values

    def value(self) -> Value:
        kind = self.type
        match kind:
            case Base(name, size, encoding):
                if encoding in ("float", "complex", "other"):
                    raise ConditionError(
                        f"{self.text} is a {name}: conditions know whole numbers only",
                        "its bits are u32[addr(...)] or u64[addr(...)]",
                    )
                if not 1 <= size <= 8:
                    raise ConditionError(
                        f"{self.text} is a {name}, of {8 * size} bits",
                        f"its lower half is u64[addr({self.text})]",
                    )
                return self._number(size, signed=encoding == "signed")
            case Enum(_, size, signed):
                return self._number(size, signed=signed)
            case Pointer():
                if kind.reference:
                    return self._referred().value()
                return self._number(8, signed=False)
            case Array() | Function():
                return Value(self.place.address(), operand=self._decayed())
            case Struct():
                raise ConditionError(f"{self.text} is a {self._struct(kind).name}", self._hint())
            case Void(name):
                raise ConditionError(f"{self.text} is {name}: it has no value", "use cast(...)")

    def _number(self, size: int, *, signed: bool) -> Value:
        if signed:
            expr = self.place.signed_word(0, size)
        else:
            expr = self.place.word(0, size)
        return Value(expr, Kind.SIGNED if signed else Kind.UNSIGNED, 8 * size, operand=self)

    def address_value(self) -> Value:
        if not self.fixed:
            return self.value()
        if isinstance(self.type, Pointer):
            name = self.text
            raise ConditionError(
                f"{name} is a pointer, and {name} in brackets could be it or what it points to",
                f"write u64[addr({name})] for the pointer, u64[u64({name})] for what it points to",
            )
        return Value(self.place.address())

    # -- parts

    def member(self, name: str) -> Operand:
        kind = self.type
        if isinstance(kind, Pointer):
            if kind.reference:
                return self._referred().member(name)
            if isinstance(kind.target, Pointer) and not kind.target.reference:
                raise ConditionError(
                    f"{self.text} is a {kind.name}: what it points to has no members",
                    f"write {self.text}[0].{name}",
                )
            return self._pointed_to(name).member(name)
        if not isinstance(kind, Struct):
            raise ConditionError(
                f"{self.text} has no member {name}: it is {_article(kind)}",
                ""
                if isinstance(kind, Array)
                else "cast('struct name *', value).member reads it as another type",
            )
        struct = self._struct(kind)
        found = struct.find(name)
        text = f"{self.text}.{name}"
        if found is None:
            raise ConditionError(f"{struct.name} has no member {name}", self._hint())
        if found.bits is None:
            place = self.place.part(found.offset, found.type.size)
            return Object(found.type, place, text, self.complete)
        return BitField(found.type, self.place, found.bits, text)

    def element(self, index: Expr) -> Operand:
        kind = self.type
        if isinstance(kind, Pointer) and kind.reference:
            return self._referred().element(index)
        text = f"{self.text}[{index.value if isinstance(index, Const) else '...'}]"
        if isinstance(kind, Pointer):
            size = self._step(kind.target)
            start: Place = Memory(self._number(8, signed=False).expr)
            kind = kind.target
        elif isinstance(kind, Array):
            size = self._step(kind.element)
            start = self.place
            kind = kind.element
        else:
            raise ConditionError(f"{self.text} is no array or pointer: it is {_article(kind)}")
        if isinstance(index, Const) and index.value < 1 << 32:
            place = start.part(size * index.value, size)
        else:
            place = Memory(_at(start.address(), index, size))
        return Object(kind, place, text, self.complete)

    def address(self) -> Operand:
        if isinstance(self.type, Pointer) and self.type.reference:
            return self._referred().address()
        pointer = Pointer(None, self.type)
        return Object(pointer, Word(self.place.address()), f"addr({self.text})", self.complete)

    def size(self) -> int:
        kind = self.type
        if isinstance(kind, Pointer) and kind.reference:
            return self._referred().size()
        return size_of(kind, self.text, self.complete)

    # -- pointers

    @property
    def step(self) -> int | None:  # type: ignore[override]
        kind = self.type
        if not isinstance(kind, Pointer) or kind.reference:
            return None
        match kind.target:
            case Void():
                return 1
            case Function():
                return None
            case Struct() as struct:
                return self.complete(struct).size or 0
        return kind.target.size or 0

    def moved(self, by: Expr) -> Operand:
        assert isinstance(self.type, Pointer), "only pointers have a step"
        if not self.step:
            self._step(self.type.target)
        where = self._number(8, signed=False).expr
        moved = plus(where, by.value) if isinstance(by, Const) else Binary("add", where, by)
        return replace(self, place=Word(moved), fixed=False)

    def _decayed(self) -> Operand:
        """What an array is when its address is meant."""
        assert isinstance(self.type, Array | Function)
        target = self.type.element if isinstance(self.type, Array) else self.type
        return Object(Pointer(None, target), Word(self.place.address()), self.text, self.complete)

    def _referred(self) -> Object:
        """What a reference refers to."""
        assert isinstance(self.type, Pointer)
        return Object(self.type.target, Memory(self.place.word(0, 8)), self.text, self.complete)

    def _pointed_to(self, member: str) -> Object:
        assert isinstance(self.type, Pointer)
        target = self.type.target
        if isinstance(target, Void | Base | Enum | Function):
            raise ConditionError(
                f"{self.text} has no member {member}: it is a pointer to {target.name}",
                f"write cast('struct name *', {self.text}).{member} to say what it points to",
            )
        return Object(target, Memory(self._number(8, signed=False).expr), self.text, self.complete)

    def _step(self, kind: CType) -> int:
        if isinstance(kind, Void):
            raise ConditionError(
                f"{self.text} is a pointer to {kind.name}, whose size is not known",
                f"write cast('int *', {self.text})[index], or load with u32[...]",
            )
        return size_of(kind, f"what {self.text} points to", self.complete)

    # -- structures

    def _struct(self, struct: Struct) -> Struct:
        struct = self.complete(struct)
        if not struct.known:
            raise NotYetKnown(
                f"{struct.name} is incomplete here: its members are not known",
                "compile the file that defines it with -g, too",
            )
        return struct

    def _hint(self) -> str:
        assert isinstance(self.type, Struct)
        names = self.complete(self.type).listed()
        shown = ", ".join(names[:30]) + (", ..." if len(names) > 30 else "")
        return f"its members are {shown}" if names else "it has no members"


@dataclass(frozen=True)
class BitField(Operand):
    """A member that has not bytes of its own."""

    type: CType
    place: Place
    bits: tuple[int, int]
    text: str

    def value(self) -> Value:
        first, width = self.bits
        signed = isinstance(self.type, Enum) and self.type.signed
        if isinstance(self.type, Base):
            signed = self.type.encoding == "signed"
        expr = self.place.bits(first, width, signed=signed)
        return Value(expr, Kind.SIGNED if signed else Kind.UNSIGNED, width, operand=self)

    def member(self, name: str) -> Operand:
        raise ConditionError(f"{self.text} has no member {name}: it is {_article(self.type)}")

    def element(self, index: Expr) -> Operand:
        raise ConditionError(f"{self.text} is no array or pointer: it is {_article(self.type)}")

    def address(self) -> Operand:
        raise ConditionError(f"{self.text} is a bit-field: it has no address")

    def size(self) -> int:
        raise ConditionError(f"{self.text} is a bit-field of {self.bits[1]} bits")


@dataclass(frozen=True)
class Untyped(Operand):
    """A variable of which only the address is known.  why: there is no more; hint: what to do."""

    text: str
    number: int
    why: str
    hint: str

    def value(self) -> Value:
        return replace(literal(self.number), operand=self)

    def address_value(self) -> Value:
        return literal(self.number)

    def check_whole(self) -> None:
        raise self._error()

    def member(self, name: str) -> Operand:
        raise self._error()

    def element(self, index: Expr) -> Operand:
        raise self._error()

    def size(self) -> int:
        raise self._error()

    def address(self) -> Operand:
        return Object(
            Pointer(None, Void()), Word(Const(self.number)), f"addr({self.text})", lambda s: s
        )

    def _error(self) -> ConditionError:
        hint = f"write u32[{self.text}] or the like, or a cast; {self.hint}"
        return ConditionError(f"the type of {self.text} is not known: {self.why}", hint)


def cast(kind: CType, value: Value, text: str, complete: Complete) -> Operand:
    """A word as a value of a type.  Raises ConditionError."""
    size = kind.size
    match kind:
        case Pointer() if not kind.reference:
            pass
        case Base(_, _, encoding) if encoding in ("signed", "unsigned", "bool"):
            pass
        case Enum():
            pass
        case _:
            raise ConditionError(
                f"a word can't be a {kind.name}", "cast to a pointer: 'struct name *'"
            )
    if not size or size > 8:
        raise ConditionError(f"a word can't be a {kind.name}", "it has 64 bits")
    if isinstance(kind, Base) and kind.encoding == "bool":
        return Object(kind, Word(Binary("ne", value.expr, Const(0))), text, complete)
    return Object(kind, Word(value.expr), text, complete)


def size_of(kind: CType, text: str, complete: Complete) -> int:
    """Bytes of a type.  Raises ConditionError when that is not known."""
    if isinstance(kind, Struct):
        kind = complete(kind)
    if isinstance(kind, Array) and isinstance(kind.element, Struct):
        kind = Array(complete(kind.element), kind.count)
    if kind.size is None:
        what = "incomplete" if isinstance(kind, Struct) else "of no known size"
        raise NotYetKnown(f"{text} is {what} ({kind.name})")
    return kind.size


def _at(start: Expr, index: Expr, size: int) -> Expr:
    """The address of an element."""
    if isinstance(index, Const):
        return plus(start, index.value * size)
    return Binary("add", start, Binary("mul", index, Const(size)) if size != 1 else index)


def _article(kind: CType) -> str:
    name = kind.name
    return f"an {name}" if name[:1] in "aeiou" and not name.startswith("unsigned") else f"a {name}"
