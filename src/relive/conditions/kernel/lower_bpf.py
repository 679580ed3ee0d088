"""From the intermediate form to BPF.

The program counts the hit, evaluates the condition and returns 1 (the kernel delivers the
hit: sample, signal) or 0 (as if it had not been).  Its laws:

 1. A load that faults and a division by zero leave for the exit `undecided`, which delivers.
 2. Constants are words of the map of values, never immediates: programs of conditions that
    differ in constants only are the same bytes, and one that is loaded serves them all.
 3. Memory is accessed at constant offsets from R6 (registers of the task), R7 (map of values)
    and R10 (frame) only, no pointer is ever computed with or stored, and the part of the frame
    that is used is zeroed first.  The verifier does not ask privileged programs for that;
    relive-bpf-helper does, for programs it loads for others.

Registers: R0 the value just computed, R1 its right operand, R2 and R3 scratch; R8, R9 and then
words of the frame hold operands while others are computed.  Of two operands that both need
such places the one that needs more comes first, so that an expression with n operations needs
at most log2 n places.  The order is not to be seen: whatever is evaluated and undecided makes
the whole undecided.

A program that does not fit (registers it can't see, frame, jump distance) is refused with
CannotLower, in words.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, assert_never

from relive.arch import x86_64
from relive.conditions import ir
from relive.conditions.kernel import abi, asm, layout
from relive.conditions.kernel.asm import FRAME, R0, R1, R2, R3, R4, R6, R7, R8, R9, Label
from relive.conditions.kernel.bpf import Code

N_VISIBLE: Final = 21
"""Registers of struct pt_regs, r15 to ss: the order and offsets of user_regs_struct's first."""

_FLAGS: Final = x86_64.BY_NAME[x86_64.FLAGS].index
# The kernel sets RF when it returns to an instruction breakpoint, a tracer that steps sets
# TF: neither is the program's doing.
_FLAGS_MASK: Final = ~(x86_64.FLAG_RESUME | x86_64.FLAG_TRAP)

_HIT: Final = -8  # frame: number of this hit
_LOADED: Final = -16  # what a helper read
_TID: Final = -24  # what bpf_get_ns_current_pid_tgid wrote
_CANDIDATE: Final = -32  # number of this candidate, while its values are collected
_FIRST_FREE: Final = -32

#: jump that is taken when the comparison holds, and its opposite; operands swapped or not
_COMPARE: Final[dict[ir.BinaryOp, tuple[asm.Jump, asm.Jump]]] = {
    "eq": ("eq", "ne"),
    "ne": ("ne", "eq"),
    "ult": ("lt", "ge"),
    "ule": ("le", "gt"),
    "slt": ("slt", "sge"),
    "sle": ("sle", "sgt"),
}
_PLAIN: Final[dict[ir.BinaryOp, asm.Alu]] = {
    "add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor",
}  # fmt: skip


class CannotLower(Exception):
    """The condition does not fit a BPF program; str() says why, for a person."""


class Deliver(enum.Enum):
    """How a program lets a hit through.

    RETURN: by returning 1; the perf event does the rest (sample, SIGTRAP, fd signal).
    SIGNAL: by sending the signal in layout.SIGNAL to the thread, and returning 1.
    OUTCOME: by returning the Outcome, for tests with BPF_PROG_TEST_RUN.
    """

    RETURN = enum.auto()
    SIGNAL = enum.auto()
    OUTCOME = enum.auto()


class Full(enum.Enum):
    """What a collecting program does when the ring is full: drop the record and count it as lost,
    or let the hit through, so that the task waits while the supervisor makes room."""

    DROP = enum.auto()
    WAIT = enum.auto()


@dataclass(frozen=True, slots=True)
class Collecting:
    """Values that a candidate appends to the ring.

    ring_size: bytes, a power of two and at least a page.
    """

    values: tuple[ir.Expr, ...]
    full: Full = Full.WAIT
    ring_size: int = 1 << 20

    @property
    def record_size(self) -> int:
        """Bytes of a record."""
        return layout.RECORD_HEADER + 8 * len(self.values)


class Lowered(NamedTuple):
    """A program and the constants to put at layout.CONSTANTS of its map."""

    code: Code
    constants: list[int]


def lower(
    expr: ir.Expr,
    *,
    kind: int = abi.BPF_PROG_TYPE_PERF_EVENT,
    deliver: Deliver = Deliver.RETURN,
    collect: Collecting | None = None,
    own_pid_namespace: bool = False,
) -> Lowered:
    """The program that decides `expr`.  Raises CannotLower.

    Candidates from the number in layout.STOP_AT on are let through, and undecided hits.
    kind: BPF_PROG_TYPE_PERF_EVENT for breakpoints, _KPROBE for uprobes, _SYSCALL for tests.
    collect: candidates go to the ring.
    own_pid_namespace: task ids are those of the namespace in layout.NS_DEVICE and NS_INODE.
    """
    try:
        ir.check(expr)
        for value in collect.values if collect else ():
            ir.check(value)
        return _Lowering(deliver, collect, own_pid_namespace).program(expr, kind)
    except asm.TooLong:
        raise CannotLower("its program is too long for a jump") from None
    except ValueError as error:
        raise CannotLower(str(error)) from None


def supports(expr: ir.Expr, collect: Sequence[ir.Expr] = ()) -> str | None:
    """Why the kernel evaluator can't decide `expr` (and collect values); None when it can."""
    try:
        lower(expr, collect=Collecting(tuple(collect)) if collect else None)
    except CannotLower as error:
        return str(error)
    return None


class _Lowering:
    def __init__(
        self,
        deliver: Deliver,
        collect: Collecting | None,
        own_pid_namespace: bool,
    ) -> None:
        self.deliver = deliver
        self.collect = collect
        self.own_pid_namespace = own_pid_namespace
        self.a = asm.Assembler()
        self.constants: list[int] = []
        self.undecided = Label()
        self.supervisor_collects = Label()
        self.first_place = _FIRST_FREE
        self.lowest = 0  # of the frame
        self._needs: dict[int, int] = {}

    # ------------------------------------------------------------------ the program

    def program(self, expr: ir.Expr, kind: int) -> Lowered:
        a = self.a
        self.increment(layout.HITS)
        a.store(8, self.frame(_HIT), _HIT, R0)
        reject = Label()
        self.branch(expr, reject, False, 0)
        self.increment(layout.CANDIDATES)
        self.unless_muted(reject)
        if self.collect:
            self.record(self.collect)
        # R0 is the number of the candidate.
        if self.deliver is not Deliver.OUTCOME:
            a.load(8, R1, R7, layout.STOP_AT * 8)
            a.jump("lt", R0, R1, reject)
        self.let_through(layout.Why.CANDIDATE)
        if self.supervisor_collects.used:
            a.bind(self.supervisor_collects)
            self.let_through(layout.Why.COLLECT)
        if self.undecided.used:
            a.bind(self.undecided)
            self.increment(layout.UNDECIDED)
            self.unless_muted(reject)
            self.let_through(layout.Why.UNDECIDED)
        if reject.used:
            a.bind(reject)
            a.mov_imm(R0, 0)
            a.exit()
        code = Code(
            kind,
            self.prologue() + a.finish(),
            layout.value_size(len(self.constants)),
            self.collect.ring_size if self.collect else 0,
        )
        return Lowered(code, self.constants)

    def prologue(self) -> bytes:
        """What comes before the rest, when the rest is known."""
        a = asm.Assembler()
        a.mov(R6, R1)
        a.map_value(R7, asm.VALUES_MAP)
        a.mov_imm(R1, 0)  # it holds the context still
        for offset in range(-8, self.lowest - 8, -8):
            a.store_imm(8, FRAME, offset, 0)
        return a.finish()

    def frame(self, offset: int) -> int:
        """The frame's register, for an access at `offset`.  CannotLower when it is too small."""
        self.lowest = min(self.lowest, offset)
        if offset < -asm.STACK_SIZE:
            raise CannotLower("it is nested too deeply for the frame of a BPF program")
        return FRAME

    def increment(self, word: int) -> None:
        """Count; R0 is the new number."""
        self.a.mov_imm(R0, 1)
        self.a.atomic_add(R7, word * 8, R0)
        self.a.alu_imm("add", R0, 1)

    def unless_muted(self, reject: Label) -> None:
        """Go on at `reject` when the site is being taken away; R0 stays."""
        self.a.load(8, R1, R7, layout.MUTED * 8)
        self.a.jump_imm("ne", R1, 0, reject)

    def let_through(self, why: layout.Why) -> None:
        """Tell the supervisor which hit of which task this is, deliver, end."""
        a = self.a
        if self.deliver is Deliver.OUTCOME:
            a.mov_imm(R0, int(why))
            a.exit()
            return
        self.increment(layout.TOLD)
        self.task_id()  # in R0
        told = Label()
        for at in range(layout.SLOTS, layout.CONSTANTS, layout.SLOT_WORDS):
            following = Label()
            a.mov_imm(R1, 1)
            a.atomic_add(R7, at * 8, R1)
            a.jump_imm("ne", R1, 0, following)
            a.store(8, R7, at * 8 + 8, R0)
            a.load(8, R1, FRAME, _HIT)
            a.store(8, R7, at * 8 + 16, R1)
            a.store_imm(8, R7, at * 8 + 24, int(why))
            a.goto(told)
            a.bind(following)
        a.bind(told)
        if self.deliver is Deliver.SIGNAL:
            sent = Label()
            a.load(8, R1, R7, layout.SIGNAL * 8)
            a.call(asm.SEND_SIGNAL_THREAD)
            a.jump_imm("eq", R0, 0, sent)
            self.increment(layout.UNSENT)
            a.bind(sent)
        a.mov_imm(R0, 1)
        a.exit()

    def task_id(self) -> None:
        """R0 = id of the task, as the supervisor knows it."""
        a = self.a
        if self.own_pid_namespace:
            a.load(8, R1, R7, layout.NS_DEVICE * 8)
            a.load(8, R2, R7, layout.NS_INODE * 8)
            a.mov(R3, self.frame(_TID))
            a.alu_imm("add", R3, _TID)
            a.mov_imm(R4, 8)
            a.call(asm.GET_NS_CURRENT_PID_TGID)
            a.load(4, R0, FRAME, _TID)  # struct bpf_pidns_info: pid (the task), tgid
        else:
            a.call(asm.GET_CURRENT_PID_TGID)
            a.alu_imm("lsh", R0, 32)
            a.alu_imm("rsh", R0, 32)

    def record(self, collect: Collecting) -> None:
        """Append a record to the ring; R0, the number of the candidate, stays."""
        a = self.a
        base = self.first_place - collect.record_size
        if base < -asm.STACK_SIZE:
            raise CannotLower(f"{len(collect.values)} values do not fit the frame of a BPF program")
        self.first_place = base
        a.store(8, self.frame(base), _CANDIDATE, R0)
        undecided, self.undecided = self.undecided, self.supervisor_collects
        for number, value in enumerate(collect.values):
            self.value(value, 0)
            a.store(8, FRAME, base + layout.RECORD_HEADER + 8 * number, R0)
        self.undecided = undecided
        self.task_id()
        a.store(8, FRAME, base, R0)
        a.load(8, R1, FRAME, _HIT)
        a.store(8, FRAME, base + 8, R1)
        a.map_fd(R1, asm.RING_MAP)
        a.mov(R2, FRAME)
        a.alu_imm("add", R2, base)
        a.mov_imm(R3, collect.record_size)
        a.mov_imm(R4, 0)
        a.call(asm.RINGBUF_OUTPUT)
        if collect.full is Full.WAIT:
            a.jump_imm("ne", R0, 0, self.supervisor_collects)
        else:
            there = Label()
            a.jump_imm("eq", R0, 0, there)
            self.increment(layout.LOST)
            a.bind(there)
        a.load(8, R0, FRAME, _CANDIDATE)

    # ------------------------------------------------------------------- expressions

    def simple(self, expr: ir.Expr) -> bool:
        """Whether `fetch` can give the value in any register without touching others."""
        return isinstance(expr, ir.Const | ir.Reg | ir.Hits)

    def fetch(self, expr: ir.Expr, dst: int) -> None:
        """dst = a simple expression."""
        a = self.a
        match expr:
            case ir.Const(value):
                word = layout.CONSTANTS + len(self.constants)
                if word >= layout.MAX_WORDS:
                    raise CannotLower("it has more constants than a BPF program reaches")
                self.constants.append(value)
                a.load(8, dst, R7, word * 8)
            case ir.Reg(index):
                if index >= N_VISIBLE:
                    name = x86_64.REGISTERS[index].name
                    raise CannotLower(f"a BPF program does not see {name}")
                a.load(8, dst, R6, index * 8)
                if index == _FLAGS:
                    a.alu_imm("and", dst, _FLAGS_MASK)
            case ir.Hits():
                a.load(8, dst, FRAME, _HIT)
            case _:
                raise AssertionError(expr)

    def need(self, expr: ir.Expr) -> int:
        """Places that evaluating `expr` takes, as Sethi and Ullman count."""
        known = self._needs.get(id(expr))
        if known is not None:
            return known
        match expr:
            case ir.Binary(_, a, b):
                if self.simple(b):
                    count = self.need(a)
                elif self.simple(a):
                    count = self.need(b)
                else:
                    first, second = sorted((self.need(a), self.need(b)), reverse=True)
                    count = max(first, second + 1)
            case _:
                count = max((self.need(child) for child in ir.children(expr)), default=0)
        self._needs[id(expr)] = count
        return count

    def save(self, place: int) -> None:
        """Put R0 by."""
        if place < 2:
            self.a.mov((R8, R9)[place], R0)
            return
        offset = self.first_place - 8 * (place - 1)
        self.a.store(8, self.frame(offset), offset, R0)

    def restore(self, place: int, dst: int) -> None:
        """dst = what was put by."""
        if place < 2:
            self.a.mov(dst, (R8, R9)[place])
        else:
            self.a.load(8, dst, FRAME, self.first_place - 8 * (place - 1))

    def operands(self, left: ir.Expr, right: ir.Expr, place: int) -> None:
        """R0 = left, R1 = right; places from `place` on are free."""
        if self.simple(right):
            self.value(left, place)
            self.fetch(right, R1)
        elif self.simple(left):
            self.value(right, place)
            self.a.mov(R1, R0)
            self.fetch(left, R0)
        elif self.need(right) > self.need(left):
            self.value(right, place)
            self.save(place)
            self.value(left, place + 1)
            self.restore(place, R1)
        else:
            self.value(left, place)
            self.save(place)
            self.value(right, place + 1)
            self.a.mov(R1, R0)
            self.restore(place, R0)

    def value(self, expr: ir.Expr, place: int) -> None:
        """R0 = expr; places from `place` on are free."""
        a = self.a
        match expr:
            case ir.Const() | ir.Reg() | ir.Hits():
                self.fetch(expr, R0)
            case ir.Load(address, size, signed):
                self.value(address, place)
                self.read(size, signed)
            case ir.Unary("neg", operand):
                self.value(operand, place)
                a.alu_imm("neg", R0, 0)
            case ir.Unary("not", operand):
                self.value(operand, place)
                a.alu_imm("xor", R0, -1)
            case ir.Binary(op, left, right) if op not in _COMPARE:
                self.operands(left, right, place)
                self.apply(op)
            case ir.Select(cond, chosen, other):
                otherwise, end = Label(), Label()
                self.branch(cond, otherwise, False, place)
                self.value(chosen, place)
                a.goto(end)
                a.bind(otherwise)
                self.value(other, place)
                a.bind(end)
            case ir.Unary() | ir.Binary() | ir.Logic():
                false, end = Label(), Label()
                self.branch(expr, false, False, place)
                a.mov_imm(R0, 1)
                a.goto(end)
                a.bind(false)
                a.mov_imm(R0, 0)
                a.bind(end)
            case _:
                assert_never(expr)

    def branch(self, expr: ir.Expr, to: Label, when: bool, place: int) -> None:
        """Go on at `to` if whether expr is not 0 equals `when`; else at the next instruction."""
        a = self.a
        match expr:
            case ir.Logic(op, left, right):
                # The left operand decides alone when it is the one of `op`'s short circuit.
                decides = op == "or"
                if decides == when:
                    self.branch(left, to, when, place)
                    self.branch(right, to, when, place)
                else:
                    skip = Label()
                    self.branch(left, skip, decides, place)
                    self.branch(right, to, when, place)
                    a.bind(skip)
            case ir.Unary("lnot", operand):
                self.branch(operand, to, not when, place)
            case ir.Binary(op, left, right) if op in _COMPARE:
                self.operands(left, right, place)
                a.jump(_COMPARE[op][0 if when else 1], R0, R1, to)
            case ir.Select(cond, chosen, other):
                otherwise, end = Label(), Label()
                self.branch(cond, otherwise, False, place)
                self.branch(chosen, to, when, place)
                a.goto(end)
                a.bind(otherwise)
                self.branch(other, to, when, place)
                a.bind(end)
            case _:
                self.value(expr, place)
                a.jump_imm("ne" if when else "eq", R0, 0, to)

    def read(self, size: int, signed: bool) -> None:
        """R0 = the task's memory at R0."""
        a = self.a
        a.mov(R3, R0)
        a.mov(R1, self.frame(_LOADED))
        a.alu_imm("add", R1, _LOADED)
        a.mov_imm(R2, size)
        a.call(asm.PROBE_READ_USER)
        a.jump_imm("ne", R0, 0, self.undecided)
        a.load(size, R0, FRAME, _LOADED)
        if signed and size < 8:
            a.alu_imm("lsh", R0, 64 - 8 * size)
            a.alu_imm("arsh", R0, 64 - 8 * size)

    def apply(self, op: ir.BinaryOp) -> None:
        """R0 = R0 op R1."""
        a = self.a
        if op in _PLAIN:
            a.alu(_PLAIN[op], R0, R1)
        elif op in ir.DIVISION_OPS:
            a.jump_imm("eq", R1, 0, self.undecided)
            if op == "udiv":
                a.alu("div", R0, R1)
            elif op == "urem":
                a.alu("mod", R0, R1)
            else:
                self.signed_division(op)
        elif op == "ashr":
            within = Label()
            a.jump_imm("le", R1, 63, within)
            a.mov_imm(R1, 63)
            a.bind(within)
            a.alu("arsh", R0, R1)
        else:
            within = Label()
            a.jump_imm("le", R1, 63, within)
            a.mov_imm(R0, 0)
            a.mov_imm(R1, 0)
            a.bind(within)
            a.alu("lsh" if op == "shl" else "rsh", R0, R1)

    def signed_division(self, op: ir.BinaryOp) -> None:
        """R0 = R0 op R1, both signed, by unsigned division of the magnitudes (signed division
        is in BPF from Linux 6.6 on).  With m = x >> 63 (all ones for a negative x), (x ^ m) - m
        is the magnitude of x, and once more gives the sign back.  The smallest number is its own
        magnitude as an unsigned word."""
        a = self.a
        for value, mask in ((R0, R2), (R1, R3)):
            a.mov(mask, value)
            a.alu_imm("arsh", mask, 63)
            a.alu("xor", value, mask)
            a.alu("sub", value, mask)
        if op == "sdiv":
            a.alu("div", R0, R1)
            a.alu("xor", R2, R3)
        else:
            a.alu("mod", R0, R1)
        a.alu("xor", R0, R2)
        a.alu("sub", R0, R2)
