"""An assembler for the few x86-64 instructions that stubs are made of.

Code is made once, independent of its address; `Code.at` then fills in what depends on it.
Encodings: Intel SDM volume 2.
"""

from __future__ import annotations

from collections.abc import Iterable, KeysView
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI = range(8)
R8, R9, R10, R11, R12, R13, R14, R15 = range(8, 16)

# Conditions, as in the low nibble of jcc and setcc.
O, NO, B, AE, E, NE, BE, A, S, NS, P, NP, L, GE, LE, G = range(16)  # noqa: E741

ADD, OR, AND, SUB, XOR, CMP = 0, 1, 4, 5, 6, 7
"""Arithmetic, by the number in its opcodes."""
SHL, SHR, SAR = 4, 5, 7
NOT, NEG, MUL, IMUL, DIV, IDIV = 2, 3, 4, 5, 6, 7

_NO_BASE: Final = -1


class Label:
    """A place in the code, to be reached before or after it is known."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = -1


class Mem(NamedTuple):
    """[base + disp], or [disp] (sign-extended from 32 bits) without a base."""

    base: int
    disp: int = 0


class Rip(NamedTuple):
    """Memory at an address, or at a label, reached relative to rip."""

    target: int | Label


Operand: TypeAlias = int | Mem | Rip
"""A register's number, or memory."""


def absolute(disp: int) -> Mem:
    return Mem(_NO_BASE, disp)


def fits(value: int, bits: int = 32) -> bool:
    """Whether a word is the sign extension of its low bits."""
    signed = value - (1 << 64) if value >> 63 else value
    return -(1 << bits - 1) <= signed < 1 << bits - 1


class _Fixup(NamedTuple):
    at: int
    end: int
    target: int | Label


@dataclass(frozen=True, slots=True)
class Code:
    """Assembled code with its references to fixed addresses open."""

    code: bytes
    absolute: tuple[_Fixup, ...]

    def at(self, address: int) -> bytes:
        """The code for this address.  Raises OverflowError when something is out of reach."""
        out = bytearray(self.code)
        for fixup in self.absolute:
            assert isinstance(fixup.target, int)
            displacement = fixup.target - (address + fixup.end)
            out[fixup.at : fixup.at + 4] = displacement.to_bytes(4, "little", signed=True)
        return bytes(out)


class Assembler:
    """Appends instructions; 64-bit operands where nothing else is said."""

    def __init__(self) -> None:
        self._out = bytearray()
        self._fixups: list[_Fixup] = []
        self._literals: dict[int, Label] = {}
        self.pooled = False
        """Whether the constants stand somewhere already."""

    @property
    def here(self) -> int:
        """Offset of the next instruction."""
        return len(self._out)

    def label(self, label: Label) -> None:
        assert label.at < 0, "a label has one place"
        label.at = self.here

    def literal(self, value: int) -> Rip:
        """A constant word in memory beside the code."""
        return Rip(self._literals.setdefault(value, Label()))

    def pool(self, values: Iterable[int]) -> KeysView[int]:
        """Puts these constants here; all that were asked for, at any time."""
        for value in values:
            label = self._literals[value] = Label()
            self.label(label)
            self._out += value.to_bytes(8, "little")
            self.pooled = True
        return self._literals.keys()

    def finish_literals(self) -> None:
        """Puts the constants here that stand nowhere yet."""
        for value, label in self._literals.items():
            if label.at < 0:
                self.label(label)
                self._out += value.to_bytes(8, "little")

    def finish(self) -> Code:
        """Fills in the labels, all placed by now."""
        fixed: list[_Fixup] = []
        for fixup in self._fixups:
            if isinstance(fixup.target, Label):
                assert fixup.target.at >= 0, "every label is placed"
                displacement = fixup.target.at - fixup.end
                self._out[fixup.at : fixup.at + 4] = displacement.to_bytes(4, "little", signed=True)
            else:
                fixed.append(fixup)
        return Code(bytes(self._out), tuple(fixed))

    def raw(self, code: bytes) -> None:
        self._out += code

    def _ins(
        self,
        opcode: bytes,
        reg: int,
        rm: Operand,
        *,
        prefix: bytes = b"",
        wide: bool = True,
        byte: bool = False,
        imm: bytes = b"",
    ) -> None:
        """[prefix] REX opcode ModRM... imm.  byte: a register operand is of 8 bits."""
        base = rm if isinstance(rm, int) else rm.base if isinstance(rm, Mem) else 0
        rex = 0x40 | (8 if wide else 0) | (4 if reg >= 8 else 0) | (1 if base >= 8 else 0)
        # spl .. dil need a REX prefix, whatever is in it.
        low = byte and (4 <= reg < 8 or (isinstance(rm, int) and 4 <= rm < 8))
        self._out += prefix
        if rex != 0x40 or low:
            self._out.append(rex)
        self._out += opcode
        field = (reg & 7) << 3
        if isinstance(rm, int):
            self._out.append(0xC0 | field | (rm & 7))
        elif isinstance(rm, Rip):
            self._out.append(field | 5)
            self._fixups.append(_Fixup(self.here, self.here + 4 + len(imm), rm.target))
            self._out += bytes(4)
        elif rm.base == _NO_BASE:
            self._out += bytes((field | 4, 0x25)) + rm.disp.to_bytes(4, "little", signed=True)
        else:
            sib = b"\x24" if rm.base & 7 == RSP else b""
            if not rm.disp and rm.base & 7 != RBP:
                self._out += bytes((field | (rm.base & 7),)) + sib
            elif -128 <= rm.disp < 128:
                self._out += bytes((0x40 | field | (rm.base & 7),)) + sib
                self._out += rm.disp.to_bytes(1, "little", signed=True)
            else:
                self._out += bytes((0x80 | field | (rm.base & 7),)) + sib
                self._out += rm.disp.to_bytes(4, "little", signed=True)
        self._out += imm

    # --- moves ---

    def mov(self, to: int, source: Operand) -> None:
        if to != source:
            self._ins(b"\x8b", to, source)

    def store(self, to: Mem | Rip, source: int) -> None:
        self._ins(b"\x89", source, to)

    def store_imm(self, to: Mem | Rip, value: int) -> None:
        """A word that `fits` 32 bits."""
        self._ins(b"\xc7", 0, to, imm=_imm(value, 4))

    def mov_imm(self, to: int, value: int) -> None:
        if not value:
            self._ins(b"\x31", to, to, wide=False)
        elif value < 1 << 32:
            self._out += b"\x41" if to >= 8 else b""
            self._out.append(0xB8 | (to & 7))
            self._out += value.to_bytes(4, "little")
        elif fits(value):
            self._ins(b"\xc7", 0, to, imm=_imm(value, 4))
        else:
            self._out += bytes((0x49 if to >= 8 else 0x48, 0xB8 | (to & 7)))
            self._out += value.to_bytes(8, "little")

    def load(self, to: int, source: Mem | Rip, size: int, signed: bool) -> None:
        """Loads 1, 2, 4 or 8 bytes, extended to a word."""
        if size == 8:
            self._ins(b"\x8b", to, source)
        elif size == 4:
            self._ins(b"\x63" if signed else b"\x8b", to, source, wide=signed)
        else:
            opcode = (0xBE if signed else 0xB6) | (size == 2)
            self._ins(bytes((0x0F, opcode)), to, source, wide=signed)

    def lea(self, to: int, source: Mem | Rip) -> None:
        self._ins(b"\x8d", to, source)

    def mov_segment(self, to: int, segment: int) -> None:
        """The selector in es, cs, ss, ds, fs or gs (0 to 5), zero-extended."""
        self._ins(b"\x8c", segment, to, wide=False)

    def rdbase(self, to: int, gs: bool) -> None:
        """rdfsbase, rdgsbase."""
        self._ins(b"\x0f\xae", int(gs), to, prefix=b"\xf3")

    # --- arithmetic ---

    def alu(self, op: int, to: int, source: Operand) -> None:
        self._ins(bytes((op << 3 | 3,)), to, source)

    def alu_imm(self, op: int, to: Operand, value: int, size: int = 8) -> None:
        """With a constant that fits `size` bytes, at most 4 of them given."""
        prefix = b"\x66" if size == 2 else b""
        wide = size == 8
        if size == 1:
            self._ins(b"\x80", op, to, wide=False, byte=True, imm=_imm(value, 1))
        elif fits(_extended(value, size), 8):
            self._ins(b"\x83", op, to, prefix=prefix, wide=wide, imm=_imm(value, 1))
        else:
            imm = _imm(value, min(size, 4))
            self._ins(b"\x81", op, to, prefix=prefix, wide=wide, imm=imm)

    def test(self, a: int, b: int) -> None:
        self._ins(b"\x85", b, a)

    def test_imm(self, a: Operand, value: int) -> None:
        self._ins(b"\xf7", 0, a, imm=_imm(value, 4))

    def unary(self, op: int, rm: Operand) -> None:
        """not, neg; mul, imul, div, idiv of rdx:rax."""
        self._ins(b"\xf7", op, rm)

    def imul(self, to: int, source: Operand) -> None:
        self._ins(b"\x0f\xaf", to, source)

    def imul_imm(self, to: int, source: Operand, value: int) -> None:
        self._ins(b"\x69", to, source, imm=_imm(value, 4))

    def shift_imm(self, op: int, rm: int, count: int) -> None:
        self._ins(b"\xc1", op, rm, imm=bytes((count,)))

    def shift_cl(self, op: int, rm: int) -> None:
        self._ins(b"\xd3", op, rm)

    def cqo(self) -> None:
        self._out += b"\x48\x99"

    def setcc(self, cc: int, to: int) -> None:
        """0 or 1 in the whole register."""
        self._ins(bytes((0x0F, 0x90 | cc)), 0, to, wide=False, byte=True)
        self._ins(b"\x0f\xb6", to, to, wide=False, byte=True)

    # --- shared memory; each returns the offset of its lock prefix (or of what stands there) ---

    def inc(self, mem: Mem | Rip) -> int:
        at = self.here
        self._ins(b"\xff", 0, mem, prefix=b"\x3e")
        return at

    def xadd(self, mem: Mem | Rip, source: int) -> int:
        at = self.here
        self._ins(b"\x0f\xc1", source, mem, prefix=b"\x3e")
        return at

    def cmpxchg(self, mem: Mem | Rip, source: int) -> int:
        at = self.here
        self._ins(b"\x0f\xb1", source, mem, prefix=b"\x3e")
        return at

    # --- flags, stack, control ---

    def lahf(self) -> None:
        self._out.append(0x9F)

    def sahf(self) -> None:
        self._out.append(0x9E)

    def seto_al(self) -> None:
        self._out += b"\x0f\x90\xc0"

    def add_al(self, value: int) -> None:
        self._out += bytes((0x04, value))

    def pushfq(self) -> None:
        self._out.append(0x9C)

    def pop(self, to: int) -> None:
        self._out += bytes((0x41, 0x58 | (to & 7)) if to >= 8 else (0x58 | to,))

    def int3(self) -> None:
        self._out.append(0xCC)

    def jmp(self, label: Label) -> None:
        self._out.append(0xE9)
        self._branch(label)

    def jcc(self, cc: int, label: Label) -> None:
        self._out += bytes((0x0F, 0x80 | cc))
        self._branch(label)

    def _branch(self, label: Label) -> None:
        self._fixups.append(_Fixup(self.here, self.here + 4, label))
        self._out += bytes(4)


LOCK: Final = 0xF0
NO_LOCK: Final = 0x3E
"""Stands in for a lock prefix: a DS override, without meaning (Intel SDM vol. 2, 2.1.1)."""


def _imm(value: int, size: int) -> bytes:
    return (value & (1 << 8 * size) - 1).to_bytes(size, "little")


def _extended(value: int, size: int) -> int:
    value &= (1 << 8 * size) - 1
    if value >> 8 * size - 1:
        value |= (1 << 64) - (1 << 8 * size)
    return value
