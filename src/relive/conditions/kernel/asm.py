"""An assembler for BPF, as small as the conditions need.

An instruction is 8 bytes (Documentation/bpf/standardization/instruction-set.rst of the
kernel's sources):

     63            32 31      16 15  12 11   8 7       0
    +----------------+----------+------+------+---------+
    |   immediate    |  offset  | src  | dst  |  opcode |
    +----------------+----------+------+------+---------+

Registers: R0 results, R1 to R5 arguments (lost by a call), R6 to R9 kept, R10 the end of the
frame of 512 bytes.  Jump offsets count instructions, from the one after the jump.
"""

from __future__ import annotations

import struct
from typing import Final, Literal

R0: Final = 0
R1: Final = 1
R2: Final = 2
R3: Final = 3
R4: Final = 4
R5: Final = 5
R6: Final = 6
R7: Final = 7
R8: Final = 8
R9: Final = 9
FRAME: Final = 10

STACK_SIZE: Final = 512
MAX_JUMP: Final = 0x7FFF

Alu = Literal[
    "add", "sub", "mul", "div", "or", "and", "lsh", "rsh", "neg", "mod", "xor", "mov", "arsh"
]
Jump = Literal["eq", "gt", "ge", "ne", "sgt", "sge", "lt", "le", "slt", "sle"]

_ALU: Final[dict[Alu, int]] = {
    "add": 0x0, "sub": 0x1, "mul": 0x2, "div": 0x3, "or": 0x4, "and": 0x5, "lsh": 0x6,
    "rsh": 0x7, "neg": 0x8, "mod": 0x9, "xor": 0xA, "mov": 0xB, "arsh": 0xC,
}  # fmt: skip
_JUMP: Final[dict[Jump, int]] = {
    "eq": 0x1, "gt": 0x2, "ge": 0x3, "ne": 0x5, "sgt": 0x6, "sge": 0x7,
    "lt": 0xA, "le": 0xB, "slt": 0xC, "sle": 0xD,
}  # fmt: skip
_SIZE: Final[dict[int, int]] = {4: 0x00, 2: 0x08, 1: 0x10, 8: 0x18}

_ALU64: Final = 0x07
_JMP: Final = 0x05
_LDX_MEM: Final = 0x61
_STX_MEM: Final = 0x63
_STX_ATOMIC: Final = 0xC3
_ST_MEM: Final = 0x62
_BY_REGISTER: Final = 0x08
_CALL: Final = 0x85
_EXIT: Final = 0x95
_LD_IMM64: Final = 0x18
_ATOMIC_ADD: Final = 0x00
_ATOMIC_FETCH: Final = 0x01

#: what the source register of LD_IMM64 says the immediate is
PSEUDO_MAP_FD: Final = 1
PSEUDO_MAP_VALUE: Final = 2

#: helper functions, enum bpf_func_id
GET_CURRENT_PID_TGID: Final = 14
PROBE_READ_USER: Final = 112  # Linux 5.5
SEND_SIGNAL_THREAD: Final = 117  # Linux 5.5
GET_NS_CURRENT_PID_TGID: Final = 120  # Linux 5.7
RINGBUF_OUTPUT: Final = 130  # Linux 5.8

#: the maps of a program, by what stands in the immediate until it is loaded
VALUES_MAP: Final = 0
RING_MAP: Final = 1


class TooLong(Exception):
    """A jump does not reach its target: more than 32767 instructions lie between."""


class Label:
    """A place in a program, known when it is bound.

    used: whether anything jumps there.
    """

    __slots__ = ("at", "used")

    def __init__(self) -> None:
        self.at = -1
        self.used = False


class Assembler:
    """A program under construction; each method appends one instruction (LD_IMM64 two)."""

    def __init__(self) -> None:
        self._code: list[int] = []
        self._jumps: list[tuple[int, Label]] = []

    def __len__(self) -> int:
        return len(self._code)

    def _put(self, opcode: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> None:
        self._code.append(
            opcode | dst << 8 | src << 12 | (off & 0xFFFF) << 16 | (imm & 0xFFFFFFFF) << 32
        )

    def _jump_to(self, to: Label) -> None:
        self._jumps.append((len(self._code), to))
        to.used = True

    def alu(self, op: Alu, dst: int, src: int) -> None:
        """dst = dst op src, 64 bits; shift counts are taken modulo 64; x / 0 = 0, x % 0 = x."""
        self._put(_ALU64 | _BY_REGISTER | _ALU[op] << 4, dst, src)

    def alu_imm(self, op: Alu, dst: int, imm: int) -> None:
        """dst = dst op imm, the immediate being sign-extended from 32 bits."""
        assert -(1 << 31) <= imm < 1 << 31
        self._put(_ALU64 | _ALU[op] << 4, dst, imm=imm)

    def mov(self, dst: int, src: int) -> None:
        """dst = src."""
        self.alu("mov", dst, src)

    def mov_imm(self, dst: int, imm: int) -> None:
        """dst = imm, sign-extended from 32 bits."""
        self.alu_imm("mov", dst, imm)

    def load(self, size: int, dst: int, base: int, off: int) -> None:
        """dst = size bytes at base + off, zero-extended."""
        self._put(_LDX_MEM | _SIZE[size], dst, base, off)

    def store(self, size: int, base: int, off: int, src: int) -> None:
        """size bytes at base + off = src."""
        self._put(_STX_MEM | _SIZE[size], base, src, off)

    def store_imm(self, size: int, base: int, off: int, imm: int) -> None:
        """size bytes at base + off = imm, sign-extended from 32 bits."""
        self._put(_ST_MEM | _SIZE[size], base, off=off, imm=imm)

    def atomic_add(self, base: int, off: int, src: int) -> None:
        """Add src to the word at base + off, atomically; src = what was there (Linux 5.12)."""
        self._put(_STX_ATOMIC | _SIZE[8], base, src, off, _ATOMIC_ADD | _ATOMIC_FETCH)

    def jump(self, op: Jump, a: int, b: int, to: Label) -> None:
        """Go on at `to` if register a op register b, 64 bits."""
        self._jump_to(to)
        self._put(_JMP | _BY_REGISTER | _JUMP[op] << 4, a, b)

    def jump_imm(self, op: Jump, a: int, imm: int, to: Label) -> None:
        """Go on at `to` if register a op imm, which is sign-extended from 32 bits."""
        self._jump_to(to)
        self._put(_JMP | _JUMP[op] << 4, a, imm=imm)

    def goto(self, to: Label) -> None:
        """Go on at `to`."""
        self._jump_to(to)
        self._put(_JMP)

    def call(self, helper: int) -> None:
        """r0 = helper(r1, ...); r1 to r5 are lost."""
        self._put(_CALL, imm=helper)

    def exit(self) -> None:
        """End the program with r0."""
        self._put(_EXIT)

    def map_value(self, dst: int, which: int, offset: int = 0) -> None:
        """dst = address of the value of a map with one element, + offset (Linux 5.2)."""
        self._put(_LD_IMM64, dst, PSEUDO_MAP_VALUE, imm=which)
        self._put(0, imm=offset)

    def map_fd(self, dst: int, which: int) -> None:
        """dst = the map, as an argument of a helper."""
        self._put(_LD_IMM64, dst, PSEUDO_MAP_FD, imm=which)
        self._put(0)

    def bind(self, label: Label) -> None:
        """The next instruction is where `label` is."""
        assert label.at < 0
        label.at = len(self._code)

    def finish(self) -> bytes:
        """The program.  Raises TooLong."""
        code = self._code
        for at, label in self._jumps:
            assert label.at >= 0
            distance = label.at - at - 1
            # A backward jump could make a loop; nothing here needs one.
            assert distance >= 0
            if distance > MAX_JUMP:
                raise TooLong
            code[at] |= distance << 16
        self._jumps.clear()
        return struct.pack(f"<{len(code)}Q", *code)


def with_maps(code: bytes, maps: dict[int, int]) -> bytes:
    """`code` with the file descriptors `maps` gives in place of VALUES_MAP and RING_MAP."""
    out = bytearray(code)
    at = 0
    while at < len(code):
        if code[at] == _LD_IMM64:
            if code[at + 1] >> 4 in (PSEUDO_MAP_FD, PSEUDO_MAP_VALUE):
                which = int.from_bytes(code[at + 4 : at + 8], "little")
                out[at + 4 : at + 8] = maps[which].to_bytes(4, "little")
            at += 8
        at += 8
    return bytes(out)
