"""gdb's agent expressions: the bytecode of a condition that gdb sends along with a breakpoint.

Source: the gdb manual, appendix "The GDB Agent Expression Mechanism" (opcodes and their
meaning), and "Packets" (the condition list of Z0 and Z1).

The code is run once with expressions on its stack instead of numbers.  Where ways part, both
are followed up to the instruction where they meet again, and what differs becomes a `Select`.
What the code evaluates and then throws away is kept as long as it may be undecided, so that
the expression is undecided exactly where the code would end with an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from relive.arch import x86_64
from relive.conditions.errors import AgentExpressionError
from relive.conditions.ir import (
    DIVISION_OPS,
    MAX_DEPTH,
    MAX_NODES,
    WORD_BITS,
    Binary,
    BinaryOp,
    Const,
    Expr,
    Load,
    Reg,
    Select,
    Size,
    Unary,
    UnaryOp,
    any_of,
    children,
    word,
)
from relive.conditions.simplify import simplify_value

_GDB_ORDER: Final = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
    "rip", "eflags", "cs", "ss", "ds", "es", "fs", "gs",
)  # fmt: skip

GDB_REGISTERS: Final[Mapping[int, int]] = {
    **{number: x86_64.BY_NAME[name].index for number, name in enumerate(_GDB_ORDER)},
    # after st0-st7, the x87 control registers, xmm0-xmm15 and mxcsr
    57: x86_64.BY_NAME["orig_rax"].index,
    58: x86_64.BY_NAME["fs_base"].index,
    59: x86_64.BY_NAME["gs_base"].index,
}
"""gdb's number of a register on amd64 Linux -> its position in struct user_regs_struct.

Valid when the target describes the features core, sse, linux and segments in this order
(`maint print remote-registers` shows the numbers)."""

_BINARY: Final[dict[int, BinaryOp]] = {
    0x02: "add", 0x03: "sub", 0x04: "mul",
    0x05: "sdiv", 0x06: "udiv", 0x07: "srem", 0x08: "urem",
    0x09: "shl", 0x0A: "ashr", 0x0B: "lshr",
    0x0F: "and", 0x10: "or", 0x11: "xor",
    0x13: "eq", 0x14: "slt", 0x15: "ult",
}  # fmt: skip
_UNARY: Final[dict[int, UnaryOp]] = {0x0E: "lnot", 0x12: "not"}
_LOADS: Final[dict[int, Size]] = {0x17: 1, 0x18: 2, 0x19: 4, 0x1A: 8}
_EXT, _ZERO_EXT = 0x16, 0x2A
_IF_GOTO, _GOTO, _END = 0x20, 0x21, 0x27
_CONSTANTS: Final = (0x22, 0x23, 0x24, 0x25)
_REG = 0x26
_DUP, _POP, _SWAP, _PICK, _ROT = 0x28, 0x29, 0x2B, 0x32, 0x33

#: bytes of operand, where there are any
_OPERANDS: Final = {
    _EXT: 1, _ZERO_EXT: 1, _IF_GOTO: 2, _GOTO: 2,
    0x22: 1, 0x23: 2, 0x24: 4, 0x25: 8, _REG: 2, _PICK: 1,
}  # fmt: skip
_KNOWN: Final = frozenset({*_BINARY, *_UNARY, *_LOADS, *_OPERANDS, _END, _DUP, _POP, _SWAP, _ROT})
_UNSUPPORTED: Final = {
    0x01: "float", 0x0C: "trace", 0x0D: "trace_quick", 0x1B: "ref_float", 0x1C: "ref_double",
    0x1D: "ref_long_double", 0x1E: "l_to_d", 0x1F: "d_to_l", 0x2C: "getv", 0x2D: "setv",
    0x2E: "tracev", 0x2F: "tracenz", 0x30: "trace16", 0x34: "printf",
}  # fmt: skip
_FLOATS: Final = frozenset({0x01, 0x1B, 0x1C, 0x1D, 0x1E, 0x1F})

_MAX_STEPS: Final = 100_000
_EXIT: Final = 1 << 32
"""Where `end` leads: beyond every instruction."""


def decode(code: bytes | str, registers: Mapping[int, int] = GDB_REGISTERS) -> Expr:
    """The expression whose value is what the bytecode leaves on its stack.

    code: the bytes, or their hexadecimal digits.  registers: gdb's register numbers, each with
    its position in struct user_regs_struct.

    Raises AgentExpressionError for code that is malformed (the stack runs empty, an operand is
    cut off, a jump leads nowhere), that uses floating point, trace state variables or tracing,
    that reads a register not in `registers`, or that has a loop.
    """
    if isinstance(code, str):
        try:
            code = bytes.fromhex(code)
        except ValueError:
            raise AgentExpressionError(0, "these are not hexadecimal digits") from None
    return simplify_value(_Lifter(code, registers).lift())


def decode_conditions(text: str, registers: Mapping[int, int] = GDB_REGISTERS) -> Expr:
    """The conditions of a Z packet, `X<bytes>,<hex digits>` one after another, as one.

    gdb wants to stop when any of them is not 0.  Raises AgentExpressionError.
    """
    conditions: list[Expr] = []
    here = 0
    while here < len(text):
        found = re.compile(r";?X([0-9a-fA-F]{1,8}),([0-9a-fA-F]*)").match(text, here)
        digits = 2 * int(found[1], 16) if found else 0
        if not found or digits > len(found[2]):
            raise AgentExpressionError(here, f"not a condition list: {text[here:][:20]!r}")
        conditions.append(decode(found[2][:digits], registers))
        here = found.start(2) + digits
    if not conditions:
        raise AgentExpressionError(0, "the condition list is empty")
    return any_of(conditions)


@dataclass(frozen=True, slots=True)
class _Instruction:
    offset: int
    op: int
    operand: int
    next: int


@dataclass(frozen=True, slots=True)
class _Item:
    """A word on the stack.  decided: no state makes it undecided."""

    expr: Expr
    depth: int
    nodes: int
    decided: bool


_State = tuple[list[_Item], list[_Item]]
"""The stack, and what was evaluated and is no longer on it."""


class _Lifter:
    def __init__(self, code: bytes, registers: Mapping[int, int]) -> None:
        self.code = code
        self.registers = registers
        self.steps = 0
        self.nesting = 0
        self.program = self.scan()
        self.meets = self.meeting_points()

    def lift(self) -> Expr:
        stack, _ = self.run(0, [], _EXIT)
        return stack[0].expr

    # Decoding

    def scan(self) -> dict[int, _Instruction]:
        """Every instruction that can be reached; nothing else need be one."""
        program: dict[int, _Instruction] = {}
        pending = [0]
        while pending:
            offset = pending.pop()
            if offset in program:
                continue
            instruction = program[offset] = self.fetch(offset)
            pending += self.successors(instruction)
        return program

    def fetch(self, offset: int) -> _Instruction:
        if offset >= len(self.code):
            raise AgentExpressionError(offset, "the code goes on beyond its last byte")
        op = self.code[offset]
        if op in _UNSUPPORTED:
            kind = "floating point" if op in _FLOATS else "tracepoints"
            raise AgentExpressionError(
                offset,
                f"{_UNSUPPORTED[op]} is not possible in a condition ({kind})",
                "gdb can evaluate it: set breakpoint condition-evaluation host",
            )
        if op not in _KNOWN:
            raise AgentExpressionError(offset, f"there is no operation {op:#04x}")
        after = offset + 1 + _OPERANDS.get(op, 0)
        if after > len(self.code):
            raise AgentExpressionError(offset, "the operand is cut off")
        operand = int.from_bytes(self.code[offset + 1 : after], "big")
        if op in (_GOTO, _IF_GOTO) and operand <= offset:
            raise AgentExpressionError(offset, "the code has a loop")
        return _Instruction(offset, op, operand, after)

    def successors(self, instruction: _Instruction) -> tuple[int, ...]:
        match instruction.op:
            case 0x27:  # end
                return ()
            case 0x21:  # goto
                return (instruction.operand,)
            case 0x20:  # if_goto
                return (instruction.next, instruction.operand)
            case _:
                return (instruction.next,)

    def meeting_points(self) -> dict[int, int]:
        """For each instruction the next one that every way from it passes (its immediate
        post-dominator)."""
        meets: dict[int, int] = {}
        for offset in sorted(self.program, reverse=True):  # successors have higher offsets
            ways = list(self.successors(self.program[offset])) or [_EXIT]
            while len(set(ways)) > 1:
                ways.remove(nearest := min(ways))
                ways.append(meets[nearest])
            meets[offset] = ways[0]
        return meets

    # Running with expressions

    def make(self, at: _Instruction, expr: Expr, operands: Sequence[_Item]) -> _Item:
        """A new word made of others."""
        depth = 1 + max((item.depth for item in operands), default=0)
        constants = len(children(expr)) - len(operands)
        nodes = 1 + constants + sum(item.nodes for item in operands)
        if depth > MAX_DEPTH or nodes > MAX_NODES:
            raise AgentExpressionError(at.offset, "the condition is too large")
        decided = all(item.decided for item in operands)
        if isinstance(expr, Load) or (isinstance(expr, Binary) and expr.op in DIVISION_OPS):
            decided = False
        return _Item(expr, depth, nodes, decided)

    def run(self, offset: int, stack: list[_Item], until: int) -> _State:
        """Follow the code from `offset` to `until`; at the end of the code the value is left."""
        dropped: list[_Item] = []
        while offset != until:
            self.steps += 1
            at = self.program[offset]
            if self.steps > _MAX_STEPS:
                raise AgentExpressionError(offset, "the condition is too large")
            if at.op == _END:
                if not stack:
                    raise AgentExpressionError(offset, "no value is left at the end")
                *below, top = stack
                dropped += (item for item in below if not item.decided)
                return [self.after(at, dropped, top)], []
            if at.op == _GOTO:
                offset = at.operand
            elif at.op == _IF_GOTO:
                (condition,) = self.pop(at, stack, 1)
                offset = self.meets[offset]
                self.nesting += 1
                if self.nesting > MAX_DEPTH:
                    raise AgentExpressionError(at.offset, "the condition is too large")
                taken = self.run(at.operand, list(stack), offset)
                passed = self.run(at.next, stack, offset)
                self.nesting -= 1
                stack, lost = self.join(at, condition, taken, passed)
                dropped += lost
                if offset == _EXIT:
                    return [self.after(at, dropped, stack[0])], []
            else:
                dropped += self.step(at, stack)
                offset = at.next
        return stack, dropped

    def pop(self, at: _Instruction, stack: list[_Item], count: int) -> list[_Item]:
        if len(stack) < count:
            raise AgentExpressionError(at.offset, "the stack is empty")
        taken = stack[len(stack) - count :]
        del stack[len(stack) - count :]
        return taken

    def step(self, at: _Instruction, stack: list[_Item]) -> list[_Item]:
        """An instruction without a jump; what it drops that may be undecided."""
        op = at.op
        if op in _BINARY:
            a, b = self.pop(at, stack, 2)
            stack.append(self.make(at, Binary(_BINARY[op], a.expr, b.expr), (a, b)))
        elif op in _UNARY:
            (a,) = self.pop(at, stack, 1)
            stack.append(self.make(at, Unary(_UNARY[op], a.expr), (a,)))
        elif op in _LOADS:
            (a,) = self.pop(at, stack, 1)
            stack.append(self.make(at, Load(a.expr, _LOADS[op]), (a,)))
        elif op in _CONSTANTS:
            stack.append(self.make(at, Const(at.operand), ()))
        elif op == _REG:
            if at.operand not in self.registers:
                raise AgentExpressionError(
                    at.offset, f"gdb's register {at.operand} can't be used in a condition"
                )
            stack.append(self.make(at, Reg(self.registers[at.operand]), ()))
        elif op in (_EXT, _ZERO_EXT):
            stack.append(self.extend(at, *self.pop(at, stack, 1)))
        elif op == _PICK:
            (picked, *above) = self.pop(at, stack, at.operand + 1)
            stack += (picked, *above, picked)
        elif op == _DUP:
            stack += self.pop(at, stack, 1) * 2
        elif op == _SWAP:
            a, b = self.pop(at, stack, 2)
            stack += (b, a)
        elif op == _ROT:
            a, b, c = self.pop(at, stack, 3)
            stack += (c, a, b)
        else:
            assert op == _POP, "every known operation is handled"
            return [item for item in self.pop(at, stack, 1) if not item.decided]
        return []

    def extend(self, at: _Instruction, a: _Item) -> _Item:
        bits = at.operand
        if bits == 0:
            raise AgentExpressionError(at.offset, "no number has 0 bits")
        if bits >= WORD_BITS:
            return a
        if at.op == _ZERO_EXT:
            return self.make(at, Binary("and", a.expr, Const((1 << bits) - 1)), (a,))
        up = Const(word(WORD_BITS - bits))
        shifted = self.make(at, Binary("shl", a.expr, up), (a,))
        return self.make(at, Binary("ashr", shifted.expr, up), (shifted,))

    def join(self, at: _Instruction, cond: _Item, taken: _State, passed: _State) -> _State:
        """One state of two: `taken` where the condition is not 0, `passed` where it is."""
        (left, left_dropped), (right, right_dropped) = taken, passed
        if len(left) != len(right):
            raise AgentExpressionError(at.offset, "the stack is not the same on both ways")
        stack: list[_Item] = []
        dropped: list[_Item] = []
        used = False
        for a, b in zip(left, right, strict=True):
            if a.expr == b.expr:
                stack.append(a)
            else:
                stack.append(self.select(at, cond, a, b))
                used = True
        if left_dropped or right_dropped:
            zero = self.make(at, Const(0), ())
            one, other = (self.after(at, d, zero) for d in (left_dropped, right_dropped))
            dropped.append(self.select(at, cond, one, other))
            used = True
        if not used and not cond.decided:
            dropped.append(cond)
        return stack, dropped

    def select(self, at: _Instruction, cond: _Item, a: _Item, b: _Item) -> _Item:
        return self.make(at, Select(cond.expr, a.expr, b.expr), (cond, a, b))

    def after(self, at: _Instruction, dropped: Sequence[_Item], result: _Item) -> _Item:
        """`result`, once everything in `dropped` has been evaluated."""
        for item in reversed(dropped):
            nothing = self.make(at, Binary("and", item.expr, Const(0)), (item,))
            sum_ = Binary("add", nothing.expr, result.expr)
            result = self.make(at, sum_, (nothing, result))
        return result
