"""DWARF expressions as conditions' expressions (DWARF 5, sections 2.5 and 2.6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from relive.arch import x86_64
from relive.conditions.c.places import (
    Bytes,
    Memory,
    Nowhere,
    Pieces,
    Place,
    Word,
    cut,
    extended,
    plus,
)
from relive.conditions.errors import ConditionError
from relive.conditions.ir import (
    COMPARISON_OPS,
    SIZES,
    WORD_MASK,
    Binary,
    BinaryOp,
    Const,
    Expr,
    Load,
    Reg,
    Select,
    Unary,
)
from relive.symbols.bytesreader import Reader
from relive.symbols.unwind import DWARF

FS_BASE: Final = Reg(x86_64.BY_NAME["fs_base"].index)
_FIRST_VECTOR: Final = 17
"""DWARF number of xmm0."""

_BINARY: Final[dict[int, BinaryOp]] = {
    0x1A: "and", 0x1B: "sdiv", 0x1C: "sub", 0x1D: "urem", 0x1E: "mul", 0x21: "or",
    0x22: "add", 0x24: "shl", 0x25: "lshr", 0x26: "ashr", 0x27: "xor",
    0x29: "eq", 0x2C: "sle", 0x2D: "slt", 0x2E: "ne",
}  # fmt: skip
_UNSIGNED: Final[dict[BinaryOp, BinaryOp]] = {"sdiv": "udiv", "slt": "ult", "sle": "ule"}
_CONSTANTS: Final[dict[int, Callable[[Reader], int]]] = {
    0x08: Reader.u8, 0x09: Reader.s8, 0x0A: Reader.u16, 0x0B: Reader.s16,
    0x0C: Reader.u32, 0x0D: Reader.s32, 0x0E: Reader.u64, 0x0F: Reader.s64,
    0x10: Reader.uleb, 0x11: Reader.sleb,
}  # fmt: skip

_MAX_FORKS: Final = 6
JUMPS: Final = "its place is described by a program with jumps"
ENTRY: Final = "optimised out here: only the value at the function's beginning is described"


@dataclass(frozen=True)
class Context:
    """What expressions of one function at one address refer to.

    bias: added to the file's addresses.  cfa, frame_base: of the frame; they raise ConditionError.
    indexed: an address of .debug_addr.  thread_local: the address of what is at an offset of the
    module's thread-local storage.  number: bytes and signedness of the base type at an offset of
    the unit; it raises ConditionError.
    """

    bias: int
    cfa: Callable[[], Expr]
    frame_base: Callable[[], Expr]
    indexed: Callable[[int], int]
    thread_local: Callable[[Expr], Expr]
    number: Callable[[int], tuple[int, bool]]


def register(number: int) -> Expr:
    """A register by its DWARF number.  Raises ConditionError."""
    if number < len(DWARF):
        return Reg(DWARF[number])
    raise ConditionError(_elsewhere(number))


def _elsewhere(number: int) -> str:
    if _FIRST_VECTOR <= number < _FIRST_VECTOR + 16:
        return f"it is in xmm{number - _FIRST_VECTOR} here, and conditions know no vector registers"
    return f"it is in a register that conditions don't know (number {number} of DWARF)"


def value(expression: bytes, context: Context, initial: tuple[Expr, ...] = ()) -> Expr:
    """What an expression computes: a frame base, a CFA.  Raises ConditionError."""
    place = _Machine(expression, context, initial).place()
    return place.at if isinstance(place, Memory) else place.word(0, 8)


def place(expression: bytes, context: Context) -> Place:
    """The place that an expression describes.  Raises ConditionError."""
    return _Machine(expression, context, ()).place()


class _Machine:
    def __init__(
        self, expression: bytes, context: Context, initial: tuple[Expr, ...], forks: int = 0
    ) -> None:
        self.forks = forks
        self.reader = Reader(expression)
        self.context = context
        self.stack: list[Expr] = list(initial)
        self.simple: Place | None = None
        """The place of this piece, when it is not memory."""
        self.typed: dict[int, tuple[Expr, tuple[int, bool]]] = {}
        """By identity: words that have a type of their own, with bytes and signedness."""

    def place(self) -> Place:
        pieces: list[tuple[Place, int]] = []
        try:
            while self.reader.at < self.reader.end:
                op = self.reader.u8()
                if op == 0x28 and not pieces:  # bra
                    return self.either()
                if op in (0x93, 0x9D):  # piece, bit_piece
                    size = self.reader.uleb()
                    if op == 0x9D:
                        offset = self.reader.uleb()
                        if size % 8 or offset % 8:
                            return Nowhere("it is kept in pieces that are not whole bytes")
                        piece, size = self.finished().part(offset // 8, size // 8), size // 8
                    else:
                        piece = self.finished()
                    pieces.append((piece, size))
                    continue
                self.step(op)
            if not pieces:
                return self.finished()
            return Pieces(tuple(pieces))
        except IndexError:
            raise ConditionError("its place is described in a way that makes no sense") from None

    def either(self) -> Place:
        """Go both ways from here, and choose between where they lead."""
        distance = self.reader.s16()
        condition = self.stack.pop()
        if distance < 0 or self.forks == _MAX_FORKS:
            raise ConditionError(JUMPS)
        taken = _Machine(self.reader.data, self.context, tuple(self.stack), self.forks + 1)
        taken.typed = dict(self.typed)
        taken.reader.at = self.reader.at + distance
        self.forks += 1
        match taken.place(), self.place():
            case Memory(a), Memory(b):
                return Memory(Select(condition, a, b))
            case Word(a), Word(b):
                return Word(Select(condition, a, b))
        raise ConditionError(JUMPS)

    def finished(self) -> Place:
        found, self.simple = self.simple, None
        if found is not None:
            return found
        if not self.stack:
            return Nowhere("a part of it is optimised out here")
        return Memory(self.stack.pop())

    def step(self, op: int) -> None:
        reader, stack = self.reader, self.stack
        if 0x30 <= op <= 0x4F:  # lit0 to lit31
            stack.append(Const(op - 0x30))
        elif 0x50 <= op <= 0x6F:  # reg0 to reg31
            self.in_register(op - 0x50)
        elif 0x70 <= op <= 0x8F:  # breg0 to breg31
            stack.append(plus(register(op - 0x70), reader.sleb()))
        elif op in _CONSTANTS:
            stack.append(Const(_CONSTANTS[op](reader) & WORD_MASK))
        elif op in _BINARY:
            b, a = stack.pop(), stack.pop()
            stack.append(self.combined(_BINARY[op], a, b))
        elif op in (0x2A, 0x2B):  # ge, gt
            b, a = stack.pop(), stack.pop()
            stack.append(self.combined("sle" if op == 0x2A else "slt", b, a))
        elif op in _TYPED:
            _TYPED[op](self)
        else:
            self.other(op)

    def in_register(self, number: int) -> None:
        if number < len(DWARF):
            self.simple = Word(Reg(DWARF[number]))
        else:
            self.simple = Nowhere(_elsewhere(number))

    def other(self, op: int) -> None:
        reader, stack, context = self.reader, self.stack, self.context
        match op:
            case 0x03:  # addr
                stack.append(Const(reader.u64() + context.bias & WORD_MASK))
            case 0xA1 | 0xFB:  # addrx, GNU_addr_index
                stack.append(Const(context.indexed(reader.uleb()) + context.bias & WORD_MASK))
            case 0xA2 | 0xFC:  # constx, GNU_const_index
                stack.append(Const(context.indexed(reader.uleb())))
            case 0x06:  # deref
                stack.append(Load(stack.pop(), 8))
            case 0x94:  # deref_size
                stack.append(self.loaded(stack.pop(), reader.u8()))
            case 0x12:  # dup
                stack.append(stack[-1])
            case 0x13:  # drop
                stack.pop()
            case 0x14:  # over
                stack.append(stack[-2])
            case 0x15:  # pick
                stack.append(stack[-1 - reader.u8()])
            case 0x16:  # swap
                stack[-1], stack[-2] = stack[-2], stack[-1]
            case 0x17:  # rot
                stack[-3:] = [stack[-1], stack[-3], stack[-2]]
            case 0x19:  # abs
                top = stack.pop()
                stack.append(Select(Binary("slt", top, Const(0)), Unary("neg", top), top))
            case 0x1F:  # neg
                stack.append(Unary("neg", stack.pop()))
            case 0x20:  # not
                stack.append(Unary("not", stack.pop()))
            case 0x23:  # plus_uconst
                stack.append(plus(stack.pop(), reader.uleb()))
            case 0x90:  # regx
                self.in_register(reader.uleb())
            case 0x91:  # fbreg
                stack.append(plus(context.frame_base(), reader.sleb()))
            case 0x92:  # bregx
                number = reader.uleb()
                stack.append(plus(register(number), reader.sleb()))
            case 0x96:  # nop
                pass
            case 0x9B | 0xE0:  # form_tls_address, GNU_push_tls_address
                stack.append(context.thread_local(stack.pop()))
            case 0x9C:  # call_frame_cfa
                stack.append(context.cfa())
            case 0x9E:  # implicit_value
                size = reader.uleb()
                self.simple = Bytes(reader.data[reader.at : reader.at + size])
                reader.skip(size)
            case 0x9F:  # stack_value
                self.simple = Word(stack.pop())
            case 0xA3 | 0xF3:  # entry_value, GNU_entry_value
                raise ConditionError(ENTRY)
            case 0xA0 | 0xF2:  # implicit_pointer, GNU_implicit_pointer
                reader.offset(False)
                reader.sleb()
                self.simple = Nowhere("it points to something that was optimised out")
            case 0x2F:  # skip
                distance = reader.s16()
                if distance < 0:
                    raise ConditionError(JUMPS)
                reader.skip(distance)
            case 0x28:  # bra, behind pieces
                raise ConditionError(JUMPS)
            case _:
                raise ConditionError(f"its place is described with DWARF operation {op:#x}")

    def loaded(self, address: Expr, size: int) -> Expr:
        for one in SIZES:
            if one == size:
                return Load(address, one)
        return Memory(address).word(0, size)

    # Operations with types: words are extended from the type's bits as it says.

    def combined(self, op: BinaryOp, a: Expr, b: Expr) -> Expr:
        held = self.typed.get(id(a)) or self.typed.get(id(b))
        if held is None:
            return plus(a, b.value) if op == "add" and isinstance(b, Const) else Binary(op, a, b)
        size, signed = held[1]
        if not signed:
            op = _UNSIGNED.get(op, op)
        if op == "lshr":
            a = cut(a, 8 * size)
        result = Binary(op, a, b)
        return result if op in COMPARISON_OPS else self.extend(result, held[1])

    def extend(self, word: Expr, kind: tuple[int, bool]) -> Expr:
        size, signed = kind
        made = extended(word, 8 * size) if signed else cut(word, 8 * size)
        self.typed[id(made)] = (made, kind)
        return made

    def push(self, word: Expr, kind: int) -> None:
        """Push a word of the base type at an offset of the unit; 0 is none."""
        self.stack.append(self.extend(word, self.context.number(kind)) if kind else word)

    def regval_type(self) -> None:
        number = self.reader.uleb()
        self.push(register(number), self.reader.uleb())

    def const_type(self) -> None:
        kind = self.reader.uleb()
        size = self.reader.u8()
        data = self.reader.data[self.reader.at : self.reader.at + size]
        self.reader.skip(size)
        self.push(Const(int.from_bytes(data[:8], "little")), kind)

    def deref_type(self) -> None:
        size = self.reader.u8()
        self.push(self.loaded(self.stack.pop(), size), self.reader.uleb())

    def convert(self) -> None:
        word = self.stack.pop()
        self.push(word, self.reader.uleb())


_TYPED: Final[dict[int, Callable[[_Machine], None]]] = {
    0xA4: _Machine.const_type, 0xF4: _Machine.const_type,
    0xA5: _Machine.regval_type, 0xF5: _Machine.regval_type,
    0xA6: _Machine.deref_type, 0xF6: _Machine.deref_type,
    0xA8: _Machine.convert, 0xF7: _Machine.convert,
    0xA9: _Machine.convert, 0xF9: _Machine.convert,
}  # fmt: skip
