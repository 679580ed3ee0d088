"""Random conditions, registers and memories for hypothesis; used by the tests of all evaluators.

    @given(expr=conditions(), state=states())
    def test(expr, state):
        assert mine(expr, state) == evaluate(expr, state.regs, state.memory.read, state.hits)

Tests against a real process give `states` and `conditions` the process's own mapped ranges, and
copy `state.memory.regions` there.

`triples(seed)` makes the same kind of thing without hypothesis, an order of magnitude faster,
for runs of 100 000 and more.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from hypothesis import strategies as st

from relive.arch.x86_64 import REGISTERS
from relive.conditions.ir import (
    BINARY_OPS,
    LOGIC_OPS,
    N_REGISTERS,
    SIZES,
    UNARY_OPS,
    WORD_MASK,
    Binary,
    Const,
    Expr,
    Hits,
    Load,
    Logic,
    Reg,
    Select,
    Unary,
)

LONG: Final = os.environ.get("RELIVE_LONG") == "1"
"""Run the large numbers."""

TRIPLES: Final = 100_000 if LONG else 3_000
"""How many triples a test of an evaluator takes from `triples`, if it can."""

INTERESTING: Final[tuple[int, ...]] = tuple(
    sorted(
        {
            number & WORD_MASK
            for base in (0, 1 << 7, 1 << 8, 1 << 15, 1 << 16, 1 << 31, 1 << 32, 1 << 63)
            for near in (base - 1, base, base + 1)
            for number in (near, -near)
        }
        | {2, 3, 5, 7, 10, 31, 63, 64, 65, 0x1234_5678_9ABC_DEF0, 0x5555_5555_5555_5555}
    )
)
"""Words at the edges of sizes and signs, and shift counts around 64."""

GENERAL_REGISTERS: Final[tuple[int, ...]] = tuple(
    register.index
    for register in REGISTERS
    if re.fullmatch("r([abcd]x|[sd]i|bp|[0-9]+)", register.name)
)
"""Registers that a test can set to any value without harm (all but the stack pointer)."""


@dataclass(frozen=True)
class Memory:
    """Some readable regions (start address, bytes), not touching each other; no other is."""

    regions: tuple[tuple[int, bytes], ...]

    def read(self, address: int, size: int) -> bytes:
        """As relive.conditions.reference.Read."""
        for start, data in self.regions:
            offset = address - start
            if offset >= 0 and offset + size <= len(data):
                return data[offset : offset + size]
        raise OSError(f"{size} bytes at {address:#x} are not mapped")


@dataclass(frozen=True)
class State:
    """What a condition is evaluated on."""

    regs: tuple[int, ...]
    memory: Memory
    hits: int


#: (start, length) of what `Memory` maps unless told otherwise: two pages and some odd bytes
DEFAULT_RANGES: Final[tuple[tuple[int, int], ...]] = ((0x10000, 64), (0x7FFF_F7F0_0FC0, 64))


def addresses(ranges: Sequence[tuple[int, int]]) -> list[int]:
    """Addresses worth loading from: inside, across the edges, outside, 0, non-canonical."""
    result = [0, 1, 0x8000_0000_0000, 0xFFFF_8000_0000_0000, WORD_MASK, WORD_MASK - 3]
    for start, length in ranges:
        result += [start, start + 1, start + 8, start + length // 2]
        result += [start + length - back for back in (8, 7, 4, 2, 1, 0)]
        result += [start - 1, start - 8]
    return [address & WORD_MASK for address in result]


def words(ranges: Sequence[tuple[int, int]] = DEFAULT_RANGES) -> st.SearchStrategy[int]:
    """64-bit words: edges, small, anything, and addresses."""
    return st.one_of(
        st.sampled_from(INTERESTING),
        st.integers(0, 20),
        st.integers(0, WORD_MASK),
        st.sampled_from(addresses(ranges)),
    )


def leaves(
    registers: Sequence[int] = GENERAL_REGISTERS,
    ranges: Sequence[tuple[int, int]] = DEFAULT_RANGES,
) -> st.SearchStrategy[Expr]:
    """Constants, registers and the hit count."""
    return st.one_of(
        st.builds(Const, words(ranges)),
        st.builds(Reg, st.sampled_from(list(registers))),
        st.just(Hits()),
    )


def conditions(
    registers: Sequence[int] = GENERAL_REGISTERS,
    ranges: Sequence[tuple[int, int]] = DEFAULT_RANGES,
    max_leaves: int = 12,
) -> st.SearchStrategy[Expr]:
    """Any expression: every operation, every size, loads that succeed and that fault."""
    leaf = leaves(registers, ranges)
    good_address = st.builds(
        Const, st.sampled_from([start + i for start, length in ranges for i in range(length - 7)])
    )

    def grow(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
        size = st.sampled_from(SIZES)
        return st.one_of(
            st.builds(Load, st.one_of(good_address, inner), size, st.booleans()),
            st.builds(Unary, st.sampled_from(UNARY_OPS), inner),
            st.builds(Binary, st.sampled_from(BINARY_OPS), inner, inner),
            st.builds(Logic, st.sampled_from(LOGIC_OPS), inner, inner),
            st.builds(Select, inner, inner, inner),
        )

    return st.recursive(leaf, grow, max_leaves=max_leaves)


def memories(
    ranges: Sequence[tuple[int, int]] = DEFAULT_RANGES,
) -> st.SearchStrategy[Memory]:
    """Random bytes in all of `ranges`."""
    starts = [start for start, _ in ranges]
    contents = st.tuples(*(st.binary(min_size=length, max_size=length) for _, length in ranges))
    return contents.map(lambda data: Memory(tuple(zip(starts, data, strict=True))))


def states(
    ranges: Sequence[tuple[int, int]] = DEFAULT_RANGES,
) -> st.SearchStrategy[State]:
    """Registers (all 27, any words), memory and a hit count."""
    word = words(ranges)
    return st.builds(
        State,
        st.lists(word, min_size=N_REGISTERS, max_size=N_REGISTERS).map(tuple),
        memories(ranges),
        st.one_of(st.integers(1, 10), word.filter(bool)),
    )


@dataclass
class Generator:
    """The same without hypothesis: reproducible from its seed, no shrinking."""

    seed: int
    registers: Sequence[int] = GENERAL_REGISTERS
    ranges: Sequence[tuple[int, int]] = DEFAULT_RANGES
    max_depth: int = 5
    random: random.Random = field(init=False)
    _addresses: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._addresses = addresses(self.ranges)

    def word(self) -> int:
        choose = self.random.random()
        if choose < 0.4:
            return self.random.choice(INTERESTING)
        if choose < 0.6:
            return self.random.randrange(20)
        if choose < 0.8:
            return self.random.choice(self._addresses)
        return self.random.getrandbits(64)

    def leaf(self) -> Expr:
        choose = self.random.random()
        if choose < 0.5:
            return Reg(self.random.choice(self.registers))
        if choose < 0.9:
            return Const(self.word())
        return Hits()

    def address(self, depth: int) -> Expr:
        choose = self.random.random()
        if choose < 0.6:
            start, length = self.random.choice(self.ranges)
            return Const(start + self.random.randrange(length - 7))
        if choose < 0.75:
            return Const(self.random.choice(self._addresses))
        return self.expr(depth)

    def expr(self, depth: int | None = None) -> Expr:
        """An expression of at most `depth` levels."""
        if depth is None:
            depth = self.random.randint(1, self.max_depth)
        if depth <= 1:
            return self.leaf()
        depth -= 1
        choose = self.random.random()
        if choose < 0.1:
            return self.leaf()
        if choose < 0.25:
            size = self.random.choice(SIZES)
            return Load(self.address(depth), size, self.random.random() < 0.5)
        if choose < 0.35:
            return Unary(self.random.choice(UNARY_OPS), self.expr(depth))
        if choose < 0.75:
            op = self.random.choice(BINARY_OPS)
            return Binary(op, self.expr(depth), self.expr(depth))
        if choose < 0.9:
            return Logic(self.random.choice(LOGIC_OPS), self.expr(depth), self.expr(depth))
        return Select(self.expr(depth), self.expr(depth), self.expr(depth))

    def memory(self) -> Memory:
        return Memory(
            tuple((start, self.random.randbytes(length)) for start, length in self.ranges)
        )

    def state(self, memory: Memory | None = None) -> State:
        return State(
            tuple(self.word() for _ in range(N_REGISTERS)),
            self.memory() if memory is None else memory,
            self.random.choice((1, 2, self.random.randrange(1, 1000), self.word() or 1)),
        )


def triples(
    count: int = TRIPLES,
    seed: int = 0,
    registers: Sequence[int] = GENERAL_REGISTERS,
    ranges: Sequence[tuple[int, int]] = DEFAULT_RANGES,
    max_depth: int = 5,
) -> Iterator[tuple[Expr, State]]:
    """`count` random conditions, each with a state."""
    generator = Generator(seed, registers, ranges, max_depth)
    for _ in range(count):
        yield generator.expr(), generator.state()
