"""The typed form of a condition, which every evaluator lowers from.

All values are 64-bit words, held as Python ints from 0 to 2**64 - 1; arithmetic wraps
around.  An operation says itself whether it takes its operands as signed (two's
complement); there are no types beyond the word.  docs/conditions.md gives the meaning of
every operation and `relive.conditions.reference` is that meaning in code.

Expressions are immutable trees: they compare and hash by value.  Operands are evaluated
from left to right; `Logic` and `Select` evaluate only what they need.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias, assert_never

from relive.arch import x86_64

WORD_BITS: Final = 64
WORD_MASK: Final = (1 << WORD_BITS) - 1
SIGN_BIT: Final = 1 << (WORD_BITS - 1)
N_REGISTERS: Final = len(x86_64.REGISTERS)

MAX_DEPTH: Final = 128
"""Levels of a tree that `check` allows: every pass over a tree is recursive."""
MAX_NODES: Final = 1 << 16
"""Nodes of a tree (shared subtrees count each time) that `check` allows."""

Size: TypeAlias = Literal[1, 2, 4, 8]
UnaryOp: TypeAlias = Literal["neg", "not", "lnot"]
BinaryOp: TypeAlias = Literal[
    "add", "sub", "mul", "udiv", "sdiv", "urem", "srem",
    "and", "or", "xor", "shl", "lshr", "ashr",
    "eq", "ne", "ult", "ule", "slt", "sle",
]  # fmt: skip
LogicOp: TypeAlias = Literal["and", "or"]

SIZES: Final[tuple[Size, ...]] = (1, 2, 4, 8)
UNARY_OPS: Final[tuple[UnaryOp, ...]] = ("neg", "not", "lnot")
ARITHMETIC_OPS: Final[tuple[BinaryOp, ...]] = (
    "add", "sub", "mul", "udiv", "sdiv", "urem", "srem",
    "and", "or", "xor", "shl", "lshr", "ashr",
)  # fmt: skip
COMPARISON_OPS: Final[tuple[BinaryOp, ...]] = ("eq", "ne", "ult", "ule", "slt", "sle")
DIVISION_OPS: Final[tuple[BinaryOp, ...]] = ("udiv", "sdiv", "urem", "srem")
COMMUTATIVE_OPS: Final[tuple[BinaryOp, ...]] = ("add", "mul", "and", "or", "xor", "eq", "ne")
BINARY_OPS: Final[tuple[BinaryOp, ...]] = ARITHMETIC_OPS + COMPARISON_OPS
LOGIC_OPS: Final[tuple[LogicOp, ...]] = ("and", "or")


class Outcome(enum.IntEnum):
    """What an evaluator says of a hit.

    REJECT: the condition is 0.  MATCH: it is not 0; the hit is a candidate.
    UNDECIDED: evaluating it needed memory that can't be read, or divided by zero; the
    supervisor stops and tells the user.
    """

    REJECT = 0
    MATCH = 1
    UNDECIDED = 2


@dataclass(frozen=True, slots=True)
class Const:
    """The word `value`, 0 to 2**64 - 1."""

    value: int

    def __post_init__(self) -> None:
        if not 0 <= self.value <= WORD_MASK:
            raise ValueError(f"not a 64-bit word: {self.value:#x}")


@dataclass(frozen=True, slots=True)
class Reg:
    """A whole register, by its position in struct user_regs_struct (relive.arch.x86_64)."""

    index: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < N_REGISTERS:
            raise ValueError(f"no register has index {self.index}")


@dataclass(frozen=True, slots=True)
class Hits:
    """Executions of this site so far, this one included: 1 at the first."""


@dataclass(frozen=True, slots=True)
class Load:
    """`size` bytes (1, 2, 4 or 8) at the address `addr`, little endian, any alignment.

    Extended to a word with zeros, or with the sign bit when `signed`.  Undecided when one of
    the bytes can't be read by the program itself, or when the last one lies beyond 2**64 - 1.
    """

    addr: Expr
    size: Size
    signed: bool = False

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ValueError(f"no load has {self.size} bytes")


@dataclass(frozen=True, slots=True)
class Unary:
    """neg: 0 - a.  not: every bit inverted.  lnot: 1 if a is 0, else 0."""

    op: UnaryOp
    a: Expr

    def __post_init__(self) -> None:
        if self.op not in UNARY_OPS:
            raise ValueError(f"no unary operation is called {self.op}")


@dataclass(frozen=True, slots=True)
class Binary:
    """An operation that always evaluates both operands, `a` first.

    add sub mul: modulo 2**64.
    udiv urem: unsigned; undecided when b is 0.
    sdiv srem: signed, rounded towards zero as in C, the remainder has the sign of a; undecided
    when b is 0; the smallest number divided by -1 gives itself, remainder 0.
    and or xor: bit by bit.
    shl lshr ashr: b is unsigned; from 64 on the result is 0, for ashr 64 copies of the sign bit.
    eq ne ult ule slt sle: 1 or 0; u compares as unsigned, s as signed.
    """

    op: BinaryOp
    a: Expr
    b: Expr

    def __post_init__(self) -> None:
        if self.op not in BINARY_OPS:
            raise ValueError(f"no binary operation is called {self.op}")


@dataclass(frozen=True, slots=True)
class Logic:
    """and: 0 if a is 0 (b is not evaluated), else whether b is not 0.  or: 1 if a is not 0
    (b is not evaluated), else whether b is not 0.  The result is 0 or 1."""

    op: LogicOp
    a: Expr
    b: Expr

    def __post_init__(self) -> None:
        if self.op not in LOGIC_OPS:
            raise ValueError(f"no logic operation is called {self.op}")


@dataclass(frozen=True, slots=True)
class Select:
    """a if cond is not 0, else b; only the one chosen is evaluated."""

    cond: Expr
    a: Expr
    b: Expr


Expr: TypeAlias = Const | Reg | Hits | Load | Unary | Binary | Logic | Select

TRUE: Final = Const(1)
FALSE: Final = Const(0)


def word(value: int) -> int:
    """`value` modulo 2**64."""
    return value & WORD_MASK


def to_signed(value: int) -> int:
    """The number a word stands for in two's complement: -2**63 to 2**63 - 1."""
    return value - (1 << WORD_BITS) if value & SIGN_BIT else value


def const(value: int) -> Const:
    """A constant from any integer, modulo 2**64 (so that -1 may be given)."""
    return Const(word(value))


def reg(name: str) -> Reg:
    """A whole register by its name in struct user_regs_struct.  Raises KeyError."""
    return Reg(x86_64.BY_NAME[name].index)


def children(expr: Expr) -> tuple[Expr, ...]:
    """The operands, in the order of evaluation."""
    match expr:
        case Load(addr):
            return (addr,)
        case Unary(_, a):
            return (a,)
        case Binary(_, a, b) | Logic(_, a, b):
            return (a, b)
        case Select(cond, a, b):
            return (cond, a, b)
        case _:
            return ()


def walk(expr: Expr) -> Iterator[Expr]:
    """The expression and all below it, outermost first; shared subtrees each time."""
    pending = [expr]
    while pending:
        node = pending.pop()
        yield node
        pending.extend(reversed(children(node)))


def registers(expr: Expr) -> frozenset[int]:
    """Indices of the registers that the expression mentions."""
    return frozenset(node.index for node in walk(expr) if isinstance(node, Reg))


def uses_hits(expr: Expr) -> bool:
    """Whether the expression mentions the hit count."""
    return any(isinstance(node, Hits) for node in walk(expr))


def has_load(expr: Expr) -> bool:
    """Whether the expression may read memory."""
    return any(isinstance(node, Load) for node in walk(expr))


def always_decided(expr: Expr) -> bool:
    """Whether no state makes the expression undecided: no load, no divisor that may be 0."""
    for node in walk(expr):
        if isinstance(node, Load):
            return False
        if (
            isinstance(node, Binary)
            and node.op in DIVISION_OPS
            and not (isinstance(node.b, Const) and node.b.value)
        ):
            return False
    return True


def is_boolean(expr: Expr) -> bool:
    """Whether the value is known to be 0 or 1."""
    match expr:
        case Const(value):
            return value <= 1
        case Logic() | Unary("lnot"):
            return True
        case Binary(op, a, b):
            if op in COMPARISON_OPS:
                return True
            return op in ("and", "or", "xor") and is_boolean(a) and is_boolean(b)
        case Select(_, a, b):
            return is_boolean(a) and is_boolean(b)
        case _:
            return False


def all_of(terms: Iterable[Expr]) -> Expr:
    """Whether all terms are not 0, tried in order until one is; 1 when there are none.

    The tree is balanced: a thousand terms are ten levels deep.  A single term is
    returned as it is.
    """
    return _balanced("and", list(terms), TRUE)


def any_of(terms: Iterable[Expr]) -> Expr:
    """Whether any term is not 0, tried in order until one is not; 0 when there are none."""
    return _balanced("or", list(terms), FALSE)


def _balanced(op: LogicOp, terms: Sequence[Expr], empty: Expr) -> Expr:
    if not terms:
        return empty
    if len(terms) == 1:
        return terms[0]
    middle = (len(terms) + 1) // 2
    return Logic(op, _balanced(op, terms[:middle], empty), _balanced(op, terms[middle:], empty))


def measure(expr: Expr) -> tuple[int, int]:
    """Levels and nodes of the tree; nodes in shared subtrees count each time.

    Takes time in proportion to the distinct objects only, and does not recurse.
    """
    known: dict[int, tuple[int, int]] = {}
    pending = [expr]
    while pending:
        node = pending[-1]
        below = children(node)
        missing = [child for child in below if id(child) not in known]
        if missing:
            pending.extend(missing)
            continue
        pending.pop()
        sizes = [known[id(child)] for child in below]
        known[id(node)] = (
            1 + max((depth for depth, _ in sizes), default=0),
            1 + sum(nodes for _, nodes in sizes),
        )
    return known[id(expr)]


def check(expr: Expr) -> None:
    """Raise ValueError for a tree that is deeper or larger than evaluators take."""
    depth, nodes = measure(expr)
    if depth > MAX_DEPTH:
        raise ValueError(f"the condition is nested {depth} levels deep; {MAX_DEPTH} are allowed")
    if nodes > MAX_NODES:
        raise ValueError(f"the condition has {nodes} operations; {MAX_NODES} are allowed")


LinearOp: TypeAlias = Literal[
    "const", "reg", "hits", "load",
    "neg", "not", "lnot", "bool",
    "add", "sub", "mul", "udiv", "sdiv", "urem", "srem",
    "and", "or", "xor", "shl", "lshr", "ashr",
    "eq", "ne", "ult", "ule", "slt", "sle",
    "jump", "branch_false", "branch_true", "jump_false", "jump_true",
]  # fmt: skip


class Linear(NamedTuple):
    """An expression as code for a stack machine; see `linearize`.

    code: (op, operand) pairs.  max_depth: words on the stack at most.
    """

    code: tuple[tuple[LinearOp, int], ...]
    max_depth: int


def linearize(expr: Expr) -> Linear:
    """The expression in order of evaluation, for evaluators without recursion.

    The machine has a stack of words, empty at the start.  It begins at code[0] and ends when it
    reaches the end of the code, with one word on the stack: exactly the value of the expression.
    Operands in the table that are not named are 0.  "top" is the last word pushed.

    =============== ============ ===========================================================
    op              operand      effect
    =============== ============ ===========================================================
    const           the word     push it
    reg             index        push the register
    hits                         push the hit count
    load            size, or     pop an address, push the `size` bytes there, zero-extended
                    -size        (size 1, 2, 4, 8) or sign-extended (-1, -2, -4, -8)
    neg not lnot                 replace top, as `Unary`
    bool                         replace top by 1 if it is not 0, else by 0
    add ... sle                  pop b, pop a, push `Binary(op, a, b)`: all 19 operations
    jump            target       go on at code[target]
    branch_false    target       pop; go on at code[target] if it was 0
    branch_true     target       pop; go on at code[target] if it was not 0
    jump_false      target       if top is 0, leave it there and go on at code[target];
                                 else pop it
    jump_true       target       if top is not 0, replace it by 1 and go on at code[target];
                                 else pop it
    =============== ============ ===========================================================

    Where an operation is undecided, the whole code is.  Targets are always greater than the
    index of the jump, and at most len(code), so the machine ends after len(code) steps at most.
    Every instruction can be reached, and the depth of the stack at an instruction is the same on
    every way there.

    Raises ValueError for a tree that `check` refuses.
    """
    check(expr)
    emitter = _Emitter()
    emitter.emit(expr, exact=True)
    assert emitter.depth == 1, "the code of an expression pushes one word"
    return Linear(tuple(_thread_jumps(emitter.code)), emitter.max_depth)


class _Emitter:
    def __init__(self) -> None:
        self.code: list[tuple[LinearOp, int]] = []
        self.depth = 0
        self.max_depth = 0

    def put(self, op: LinearOp, operand: int = 0, *, change: int = 0) -> int:
        """Append an instruction that changes the depth of the stack; its index."""
        self.code.append((op, operand))
        self.depth += change
        self.max_depth = max(self.max_depth, self.depth)
        return len(self.code) - 1

    def land(self, jump: int) -> None:
        """Let the jump at this index go to the next instruction."""
        self.code[jump] = (self.code[jump][0], len(self.code))

    def emit(self, expr: Expr, *, exact: bool) -> None:
        """Append code that pushes the value; unless `exact`, any word that is 0 when it is."""
        match expr:
            case Const(value):
                self.put("const", value, change=1)
            case Reg(index):
                self.put("reg", index, change=1)
            case Hits():
                self.put("hits", change=1)
            case Load(addr, size, signed):
                self.emit(addr, exact=True)
                self.put("load", -size if signed else size)
            case Unary(op, a):
                self.emit(a, exact=op != "lnot")
                self.put(op)
            case Binary(op, a, b):
                self.emit(a, exact=True)
                self.emit(b, exact=True)
                self.put(op, change=-1)
            case Logic(op, a, b):
                self.emit(a, exact=False)
                jump = self.put("jump_false" if op == "and" else "jump_true", change=-1)
                boolean = is_boolean(b)
                self.emit(b, exact=exact and boolean)
                if exact and not boolean:
                    self.put("bool")
                self.land(jump)
            case Select(cond, a, b):
                self.emit(cond, exact=False)
                to_b = self.put("branch_false", change=-1)
                self.emit(a, exact=exact)
                to_end = self.put("jump", change=-1)
                self.land(to_b)
                self.emit(b, exact=exact)
                self.land(to_end)
            case _:
                assert_never(expr)


def _thread_jumps(code: list[tuple[LinearOp, int]]) -> list[tuple[LinearOp, int]]:
    """Let a jump that lands on another go where that one would."""
    # From the end on: whatever a jump lands on is final.
    for index in reversed(range(len(code))):
        op, target = code[index]
        if op not in ("jump", "jump_false", "jump_true") or target == len(code):
            continue
        landing, further = code[target]
        if op == landing:
            code[index] = (op, further)
        elif op == "jump":
            continue
        elif landing in ("jump_false", "jump_true", "branch_false", "branch_true"):
            # The second jump pops the word, whatever way it goes, unless it is `op` itself.
            goes = landing.endswith("_false") == (op == "jump_false")
            branch: LinearOp = "branch_false" if op == "jump_false" else "branch_true"
            code[index] = (branch, further if goes else target + 1)
    return code
