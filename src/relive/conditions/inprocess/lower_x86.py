"""Conditions as x86-64 code.

The value of an expression is computed in a scratch register; deeper ones go to a frame.
Conditions are compiled to jumps.  rax is not used: it holds the program's flags.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, assert_never

from relive.arch import x86_64
from relive.conditions import ir
from relive.conditions.inprocess import asm
from relive.conditions.inprocess.asm import Assembler, Label, Mem, Operand, absolute, fits

_NAMES: Final = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15"
_HARDWARE: Final = {
    x86_64.BY_NAME[name].index: number for number, name in enumerate(_NAMES.split(" "))
}
"""Numbers in instructions, by the index in user_regs_struct."""
INDEX: Final = {number: index for index, number in _HARDWARE.items()}
_SEGMENTS: Final = {
    x86_64.BY_NAME[name].index: number
    for number, name in enumerate(("es", "cs", "ss", "ds", "fs", "gs"))
}
RIP: Final = x86_64.BY_NAME["rip"].index
EFLAGS: Final = x86_64.BY_NAME["eflags"].index
_ORIG_RAX: Final = x86_64.BY_NAME["orig_rax"].index
_FS_BASE: Final = x86_64.BY_NAME["fs_base"].index
_GS_BASE: Final = x86_64.BY_NAME["gs_base"].index

HELPER: Final = asm.RCX
"""Shift counts, and what is needed for a moment."""
_SCRATCH: Final = (
    asm.RDX, asm.RSI, asm.RDI, asm.R8, asm.R9, asm.R10, asm.R11,
    asm.RBX, asm.RBP, asm.R12, asm.R13, asm.R14, asm.R15,
)  # fmt: skip
N_SCRATCH: Final = 3

_CC: Final[dict[str, int]] = {
    "eq": asm.E, "ne": asm.NE, "ult": asm.B, "ule": asm.BE, "slt": asm.L, "sle": asm.LE,
}  # fmt: skip
_SWAPPED: Final = {
    asm.E: asm.E, asm.NE: asm.NE, asm.B: asm.A, asm.BE: asm.AE, asm.L: asm.G, asm.LE: asm.GE,
}  # fmt: skip
_ALU: Final[dict[str, int]] = {
    "add": asm.ADD, "sub": asm.SUB, "and": asm.AND, "or": asm.OR, "xor": asm.XOR,
}  # fmt: skip
_SHIFTS: Final[dict[str, int]] = {"shl": asm.SHL, "lshr": asm.SHR, "ashr": asm.SAR}


@dataclass(slots=True)
class Frame:
    """Where a stub keeps things, from the lowered rsp on, in words."""

    saved: dict[int, int] = field(default_factory=dict)
    """Slots of the program's registers that the stub changes, by hardware number."""
    flags: int | None = None
    """The program's rflags, when the condition asks for them."""
    hits: int | None = None
    temporaries: int = 0
    """The first of the slots for what doesn't fit into registers."""
    size: int = 0
    """Bytes that rsp is lowered by, the red zone included."""

    def slot(self, number: int) -> Mem:
        return Mem(asm.RSP, 8 * number)


class Lowering:
    """Emits the code of expressions into an assembler.

    The first pass finds out what is used; the frame for the second is made of it.
    """

    def __init__(self, out: Assembler, frame: Frame, expressions: list[ir.Expr], site: int) -> None:
        self.out = out
        self.frame = frame
        self.site = site
        self.used: set[int] = set()
        """Registers written."""
        self.slots = 0
        """Temporary slots in use, and at most:"""
        self.max_slots = 0
        self.loads: set[int] = set()
        """Offsets of the instructions that read the program's memory."""
        self.undecided = Label()
        self.flags_away: list[tuple[int, int, int]] = []
        """(from, to, slot): where rax is in a slot instead."""
        nodes = [node for expr in expressions for node in ir.walk(expr)]
        mentioned = {_HARDWARE.get(n.index) for n in nodes if isinstance(n, ir.Reg)}
        self.divides = any(isinstance(n, ir.Binary) and n.op in ir.DIVISION_OPS for n in nodes)
        pool = [r for r in _SCRATCH if not (self.divides and r == asm.RDX)]
        pool.sort(key=lambda r: r in mentioned)
        self.scratch = pool[:N_SCRATCH]

    # --- operands ---

    def _register(self, index: int) -> Operand | None:
        """A register of the program as an operand, if it is one."""
        number = _HARDWARE.get(index)
        if number is not None:
            if number in self.frame.saved:
                return self.frame.slot(self.frame.saved[number])
            return None if number == asm.RSP else number
        if index == EFLAGS:
            assert self.frame.flags is not None, "a frame has a slot for the flags it needs"
            return self.frame.slot(self.frame.flags)
        return None

    def _memory(self, addr: ir.Expr) -> Mem | None:
        """An address that an instruction can form by itself."""
        displacement = 0
        match addr:
            case ir.Const(value):
                return absolute(ir.to_signed(value)) if fits(value) else None
            case ir.Reg(index):
                pass
            case ir.Binary("add", ir.Reg(index), ir.Const(value)) | ir.Binary(
                "add", ir.Const(value), ir.Reg(index)
            ):
                displacement = ir.to_signed(value)
            case ir.Binary("sub", ir.Reg(index), ir.Const(value)):
                displacement = -ir.to_signed(value)
            case _:
                return None
        number = _HARDWARE.get(index)
        if number is None or number in self.frame.saved:
            return None
        if number == asm.RSP:
            displacement += self.frame.size
        if not -(1 << 31) <= displacement < 1 << 31:
            return None
        return Mem(number, displacement)

    def _source(self, expr: ir.Expr) -> Operand | None:
        """Something an instruction can read without help, if the expression is that."""
        match expr:
            case ir.Const(value):
                return self.out.literal(value)
            case ir.Reg(index):
                return self._register(index)
            case ir.Hits():
                assert self.frame.hits is not None, "a frame has a slot for the hits it needs"
                return self.frame.slot(self.frame.hits)
            case _:
                return None

    def _touch(self, register: int) -> int:
        self.used.add(register)
        return register

    def temporary(self) -> Mem:
        self.slots += 1
        self.max_slots = max(self.max_slots, self.slots)
        return self.frame.slot(self.frame.temporaries + self.slots - 1)

    def release(self, count: int = 1) -> None:
        self.slots -= count

    def is_temporary(self, memory: Mem) -> bool:
        return memory.disp >= 8 * self.frame.temporaries

    def direct(self, expr: ir.Expr) -> Operand | None:
        """Where the value is already, if no code is needed for it."""
        return self._source(expr)

    # --- values ---

    def value(self, expr: ir.Expr, depth: int) -> int:
        """Computes into the scratch register of this depth; the ones below are kept."""
        out = self.out
        to = self._touch(self.scratch[depth])
        match expr:
            case ir.Const(value):
                out.mov_imm(to, value)
            case ir.Reg(index):
                self._read_register(to, index)
            case ir.Hits():
                source = self._source(expr)
                assert source is not None
                out.mov(to, source)
            case ir.Load(addr, size, signed):
                memory = self._memory(addr)
                if memory is None:
                    memory = Mem(self.value(addr, depth))
                self.loads.add(out.here)
                out.load(to, memory, size, signed)
            case ir.Unary("lnot") | ir.Logic():
                self._boolean(expr, depth)
            case ir.Unary(op, a):
                self.value(a, depth)
                out.unary(asm.NEG if op == "neg" else asm.NOT, to)
            case ir.Binary(op, a, b) if op in _CC:
                out.setcc(self._compare(op, a, b, depth), to)
            case ir.Binary(op, a, b):
                self._binary(op, a, b, depth)
            case ir.Select(cond, a, b):
                other, end = Label(), Label()
                self.branch(cond, other, False, depth)
                self.value(a, depth)
                out.jmp(end)
                out.label(other)
                self.value(b, depth)
                out.label(end)
            case _:
                assert_never(expr)
        return to

    def _read_register(self, to: int, index: int) -> None:
        out = self.out
        source = self._register(index)
        if source is not None:
            out.mov(to, source)
        elif index in _HARDWARE:
            out.lea(to, Mem(asm.RSP, self.frame.size))
        elif index == RIP:
            out.mov_imm(to, self.site)
        elif index == _ORIG_RAX:
            out.mov_imm(to, ir.WORD_MASK)  # what a tracer sees outside a system call
        elif index in _SEGMENTS:
            out.mov_segment(to, _SEGMENTS[index])
        else:
            assert index in (_FS_BASE, _GS_BASE)
            out.rdbase(to, index == _GS_BASE)

    def _boolean(self, expr: ir.Expr, depth: int) -> None:
        false, end = Label(), Label()
        to = self.scratch[depth]
        self.branch(expr, false, False, depth)
        self.out.mov_imm(to, 1)
        self.out.jmp(end)
        self.out.label(false)
        self.out.mov_imm(to, 0)
        self.out.label(end)

    def _operands(self, a: ir.Expr, b: ir.Expr, depth: int) -> Operand:
        """Computes a into the scratch register of this depth; where b is."""
        out = self.out
        source = self._source(b)
        if source is not None:
            self.value(a, depth)
            return source
        if depth + 1 < N_SCRATCH:
            self.value(a, depth)
            return self.value(b, depth + 1)
        to = self.value(a, depth)
        kept = self.temporary()
        out.store(kept, to)
        self.value(b, depth)
        out.mov(self._touch(HELPER), to)
        out.mov(to, kept)
        self.release()
        return HELPER

    def _binary(self, op: str, a: ir.Expr, b: ir.Expr, depth: int) -> None:
        out = self.out
        to = self.scratch[depth]
        if op in _SHIFTS:
            self._shift(_SHIFTS[op], a, b, depth)
        elif op in ir.DIVISION_OPS:
            self._divide(op, a, b, depth)
        elif isinstance(b, ir.Const) and fits(b.value):
            self.value(a, depth)
            if op == "mul":
                out.imul_imm(to, to, b.value)
            else:
                out.alu_imm(_ALU[op], to, b.value)
        else:
            source = self._operands(a, b, depth)
            if op == "mul":
                out.imul(to, source)
            else:
                out.alu(_ALU[op], to, source)

    def _shift(self, op: int, a: ir.Expr, b: ir.Expr, depth: int) -> None:
        out = self.out
        to = self.scratch[depth]
        if isinstance(b, ir.Const):
            self.value(a, depth)
            if b.value < 64:
                out.shift_imm(op, to, b.value)
            elif op == asm.SAR:
                out.shift_imm(op, to, 63)
            else:
                out.mov_imm(to, 0)
            return
        out.mov(self._touch(HELPER), self._operands(a, b, depth))
        in_range = Label()
        if op == asm.SAR:
            out.alu_imm(asm.CMP, HELPER, 63)
            out.jcc(asm.BE, in_range)
            out.mov_imm(HELPER, 63)
            out.label(in_range)
            out.shift_cl(op, to)
        else:
            out.shift_cl(op, to)
            out.alu_imm(asm.CMP, HELPER, 63)
            out.jcc(asm.BE, in_range)
            out.mov_imm(to, 0)
            out.label(in_range)

    def _divide(self, op: str, a: ir.Expr, b: ir.Expr, depth: int) -> None:
        """rdx is saved and free whenever there is a division; rax is put away around it."""
        out = self.out
        to = self.scratch[depth]
        out.mov(self._touch(HELPER), self._operands(a, b, depth))
        out.test(HELPER, HELPER)
        out.jcc(asm.E, self.undecided)
        self._touch(asm.RDX)
        flags = self.temporary()
        out.store(flags, asm.RAX)
        since = out.here
        out.mov(asm.RAX, to)
        done = Label()
        if op in ("sdiv", "srem"):
            # The smallest number by -1 would fault.
            other = Label()
            out.alu_imm(asm.CMP, HELPER, ir.WORD_MASK)
            out.jcc(asm.NE, other)
            out.unary(asm.NEG, asm.RAX)
            out.mov_imm(asm.RDX, 0)
            out.jmp(done)
            out.label(other)
            out.cqo()
            out.unary(asm.IDIV, HELPER)
        else:
            out.mov_imm(asm.RDX, 0)
            out.unary(asm.DIV, HELPER)
        out.label(done)
        out.mov(to, asm.RAX if op in ("udiv", "sdiv") else asm.RDX)
        out.mov(asm.RAX, flags)
        self.flags_away.append((since, out.here, flags.disp))
        self.release()

    # --- conditions ---

    def branch(self, expr: ir.Expr, to: Label, sense: bool, depth: int = 0) -> None:
        """Jumps if the expression is not 0 (sense), or if it is 0 (not sense); else goes on."""
        out = self.out
        match expr:
            case ir.Const(value):
                if bool(value) == sense:
                    out.jmp(to)
            case ir.Unary("lnot", a):
                self.branch(a, to, not sense, depth)
            case ir.Logic(op, a, b):
                if (op == "and") != sense:
                    self.branch(a, to, sense, depth)
                else:
                    past = Label()
                    self.branch(a, past, not sense, depth)
                    self.branch(b, to, sense, depth)
                    out.label(past)
                    return
                self.branch(b, to, sense, depth)
            case ir.Binary(op, a, b) if op in _CC:
                cc = self._compare(op, a, b, depth)
                out.jcc(cc if sense else cc ^ 1, to)
            case ir.Binary("and", a, ir.Const(value)) if fits(value):
                source = self._source(a)
                if source is None:
                    source = self.value(a, depth)
                out.test_imm(source, value)
                out.jcc(asm.NE if sense else asm.E, to)
            case _:
                cc = self._compare("ne", expr, ir.FALSE, depth)
                out.jcc(cc if sense else cc ^ 1, to)

    def _compare(self, op: str, a: ir.Expr, b: ir.Expr, depth: int) -> int:
        """Compares; the condition code that then says yes."""
        cc = _CC[op]
        if isinstance(a, ir.Const) and not isinstance(b, ir.Const):
            a, b, cc = b, a, _SWAPPED[cc]
        if isinstance(b, ir.Const) and self._compare_const(a, b.value, cc, depth):
            return cc
        out = self.out
        left = self._source(a)
        right = self._source(b)
        if isinstance(left, int) and right is not None:
            out.alu(asm.CMP, left, right)
        elif isinstance(right, int) and left is not None:
            out.alu(asm.CMP, right, left)
            cc = _SWAPPED[cc]
        else:
            source = self._operands(a, b, depth)
            out.alu(asm.CMP, self.scratch[depth], source)
        return cc

    def _compare_const(self, a: ir.Expr, value: int, cc: int, depth: int) -> bool:
        """Compares with a constant inside the instruction, if that can be."""
        out = self.out
        if isinstance(a, ir.Load):
            memory = self._memory(a.addr)
            if memory is not None and _same_when_narrow(a, value, cc):
                self.loads.add(out.here)
                out.alu_imm(asm.CMP, memory, value, a.size)
                return True
        if not fits(value):
            return False
        source = self._source(a)
        if source is None:
            source = self.value(a, depth)
        if not value and isinstance(source, int):
            out.test(source, source)
        else:
            out.alu_imm(asm.CMP, source, value)
        return True


def _same_when_narrow(load: ir.Load, value: int, cc: int) -> bool:
    """Whether comparing just the loaded bytes with the constant's low ones is the same."""
    if load.size == 8:
        return fits(value)
    bits = 8 * load.size
    if load.signed:
        # Sign-extended on both sides: the order is kept, signed and unsigned.
        return fits(value, bits)
    # Zero-extended: as unsigned numbers only.
    return value < 1 << bits and cc in (asm.E, asm.NE, asm.B, asm.BE, asm.A, asm.AE)
