"""The language against Python itself.

Random text is evaluated twice: parsed to the IR and given to the reference evaluator, and by
Python's own `eval` with objects that do 64-bit arithmetic for registers and loads.
"""

from __future__ import annotations

import operator
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pytest

from relive.arch.x86_64 import REGISTERS
from relive.arch.x86_64_parts import PARTS
from relive.conditions.errors import ParseError
from relive.conditions.language import parse
from relive.conditions.naming import TYPES
from relive.conditions.reference import Undecided, value
from tests.conditions.strategies import LONG, Generator, State

MASK: Final = (1 << 64) - 1


class Fault(Exception):
    """A load or a division that can't be done."""


def signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


class Word:
    """A value of the program: not a literal, which is a plain int."""

    def __init__(self, number: int, is_signed: bool) -> None:
        self.word = number & MASK
        self.signed = is_signed

    def number(self) -> int:
        return signed(self.word) if self.signed else self.word

    def with_other(self, other: Operand) -> tuple[bool, int]:
        """Whether both together are signed, and the other's word."""
        if isinstance(other, Word):
            return self.signed or other.signed, other.word
        return self.signed, int(other) & MASK

    def arithmetic(self, other: Operand, compute: Callable[[int, int], int]) -> Word:
        is_signed, word = self.with_other(other)
        return Word(compute(self.word, word), is_signed)

    def reflected(self, other: int, compute: Callable[[int, int], int]) -> Word:
        return Word(compute(int(other) & MASK, self.word), self.signed)

    def __add__(self, other: Operand) -> Word:
        return self.arithmetic(other, operator.add)

    def __radd__(self, other: int) -> Word:
        return self.reflected(other, operator.add)

    def __sub__(self, other: Operand) -> Word:
        return self.arithmetic(other, operator.sub)

    def __rsub__(self, other: int) -> Word:
        return self.reflected(other, operator.sub)

    def __mul__(self, other: Operand) -> Word:
        return self.arithmetic(other, operator.mul)

    def __rmul__(self, other: int) -> Word:
        return self.reflected(other, operator.mul)

    def __and__(self, other: Operand) -> Word:
        return self.arithmetic(other, operator.and_)

    def __rand__(self, other: int) -> Word:
        return self.reflected(other, operator.and_)

    def __or__(self, other: Operand) -> Word:
        return self.arithmetic(other, operator.or_)

    def __ror__(self, other: int) -> Word:
        return self.reflected(other, operator.or_)

    def __xor__(self, other: Operand) -> Word:
        return self.arithmetic(other, operator.xor)

    def __rxor__(self, other: int) -> Word:
        return self.reflected(other, operator.xor)

    def __lshift__(self, other: Operand) -> Word:
        count = other.word if isinstance(other, Word) else int(other)
        return Word(self.word << min(count, 64), self.signed)

    def __rlshift__(self, other: int) -> Word:
        return Word(int(other) << min(self.word, 64), other < 0)

    def __rshift__(self, other: Operand) -> Word:
        count = other.word if isinstance(other, Word) else int(other)
        return Word(self.number() >> min(count, 64), self.signed)

    def __rrshift__(self, other: int) -> Word:
        return Word(int(other) >> min(self.word, 64), other < 0)

    def __floordiv__(self, other: Operand) -> Word:
        return divide(self, other, remainder=False)

    def __rfloordiv__(self, other: int) -> Word:
        return divide(Word(int(other), self.signed), self, remainder=False)

    def __mod__(self, other: Operand) -> Word:
        return divide(self, other, remainder=True)

    def __rmod__(self, other: int) -> Word:
        return divide(Word(int(other), self.signed), self, remainder=True)

    def __neg__(self) -> Word:
        return Word(-self.word, self.signed)

    def __pos__(self) -> Word:
        return self

    def __invert__(self) -> Word:
        return Word(~self.word, self.signed)

    def __bool__(self) -> bool:
        return self.word != 0

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Word | int)
        return self.word == self.with_other(other)[1]

    def __hash__(self) -> int:
        return hash(self.word)

    def compare(self, other: Operand, how: Callable[[int, int], bool]) -> bool:
        is_signed, word = self.with_other(other)
        return how(signed(self.word), signed(word)) if is_signed else how(self.word, word)

    def __lt__(self, other: Operand) -> bool:
        return self.compare(other, operator.lt)

    def __le__(self, other: Operand) -> bool:
        return self.compare(other, operator.le)

    def __gt__(self, other: Operand) -> bool:
        return self.compare(other, operator.gt)

    def __ge__(self, other: Operand) -> bool:
        return self.compare(other, operator.ge)


Operand = Word | int


def divide(a: Word, b: Operand, *, remainder: bool) -> Word:
    is_signed, divisor = a.with_other(b)
    if divisor == 0:
        raise Fault
    x, y = (signed(a.word), signed(divisor)) if is_signed else (a.word, divisor)
    quotient = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
    return Word(x - quotient * y if remainder else quotient, is_signed)


@dataclass
class Type:
    """`u8` and its kind: `u8[address]` and `u8(value)`."""

    size: int
    is_signed: bool
    state: State

    def convert(self, number: int) -> Word:
        bits = 8 * self.size
        number &= (1 << bits) - 1
        if self.is_signed and number >> (bits - 1):
            number -= 1 << bits
        return Word(number, self.is_signed)

    def __call__(self, what: Operand) -> Word:
        return self.convert(what.word if isinstance(what, Word) else int(what))

    def __getitem__(self, address: Operand) -> Word:
        start = address.word if isinstance(address, Word) else int(address) & MASK
        if start + self.size > 1 << 64:
            raise Fault
        try:
            return self.convert(int.from_bytes(self.state.memory.read(start, self.size), "little"))
        except OSError:
            raise Fault from None


@dataclass
class Range:
    """`range` for words."""

    first: Operand
    end: Operand
    step: int = 1

    def __contains__(self, what: Operand) -> bool:
        if not (self.first <= what and what < self.end):
            return False
        if self.step == 1:
            return True
        distance = what - self.first
        return (distance.word if isinstance(distance, Word) else distance) % self.step == 0


def _seen(state: State, index: int) -> int:
    """A register without TF and RF of the flags: they are not the program's."""
    return state.regs[index] & (~0x10100 if REGISTERS[index].name == "eflags" else -1)


def by_python(text: str, state: State) -> bool:
    """Whether the condition is true.  Raises Fault where it has no value."""
    names: dict[str, object] = {
        name: Word(_seen(state, part.index) >> part.shift & ((1 << part.bits) - 1), False)
        for name, part in PARTS.items()
    }
    names |= {name: Type(size, is_signed, state) for name, (size, is_signed) in TYPES.items()}
    names |= {"hits": Word(state.hits, False), "range": Range}
    return bool(eval(text, {"__builtins__": {}}, names))


def mentions_names(text: str) -> bool:
    return re.search(r"\b[a-z]", text) is not None


@dataclass
class Writer:
    """Random text; `and`, `or` and `not` only where their truth is what matters."""

    generator: Generator

    def __post_init__(self) -> None:
        self.random: random.Random = self.generator.random

    def number(self) -> str:
        word = self.generator.word()
        return self.random.choice((str(word), hex(word), str(self.random.randrange(70))))

    def leaf(self) -> str:
        choose = self.random.random()
        if choose < 0.55:
            return self.random.choice(list(PARTS))
        if choose < 0.9:
            return self.number()
        return "hits"

    def value(self, depth: int) -> str:
        if depth == 0:
            return self.leaf()
        choose = self.random.random()
        if choose < 0.35:
            symbol = self.random.choice(("+", "-", "*", "&", "|", "^", "//", "%", "<<", ">>"))
            left, right = self.value(depth - 1), self.value(depth - 1)
            if symbol in ("//", "%") and not mentions_names(left + right):
                symbol = "+"  # literals divide as C does, and Python does not
            return f"({left} {symbol} {right})"
        if choose < 0.45:
            return f"{self.random.choice('-~+')}{self.value(depth - 1)}"
        if choose < 0.6:
            return f"{self.random.choice(list(TYPES))}({self.value(depth - 1)})"
        if choose < 0.75:
            start, length = self.random.choice(self.generator.ranges)
            address = str(start + self.random.randrange(length))
            if self.random.random() < 0.3:
                address = self.value(depth - 1)
            return f"{self.random.choice(list(TYPES))}[{address}]"
        if choose < 0.8:
            # Converted: Python would take the kind of the side it chose.
            a, b = self.value(depth - 1), self.value(depth - 1)
            return f"{self.random.choice(('i64', 'u64'))}({a} if {self.truth(depth - 1)} else {b})"
        return self.leaf()

    def truth(self, depth: int) -> str:
        choose = self.random.random()
        if depth == 0 or choose < 0.4:
            symbols = ("<", "<=", ">", ">=", "==", "!=")
            text = self.value(depth)
            for _ in range(self.random.choice((1, 1, 1, 2))):
                text += f" {self.random.choice(symbols)} {self.value(depth)}"
            return f"({text})"
        if choose < 0.5:
            # Python evaluates all items first, relive one by one: only the first may fault.
            items = f"{self.value(depth - 1)}, "
            items += "".join(f"{self.leaf()}, " for _ in range(self.random.randrange(3)))
            how = self.random.choice(("in", "not in"))
            return f"({self.value(depth - 1)} {how} ({items}))"
        if choose < 0.6:
            bounds = f"{self.value(0)}, {self.value(0)}"
            if self.random.random() < 0.3:
                bounds += f", {self.random.randint(1, 5)}"
            return f"({self.value(depth - 1)} in range({bounds}))"
        if choose < 0.7:
            return f"(not {self.truth(depth - 1)})"
        if choose < 0.75:
            return self.value(depth)
        symbol = self.random.choice(("and", "or"))
        terms = [self.truth(depth - 1) for _ in range(self.random.randint(2, 3))]
        return f"({f' {symbol} '.join(terms)})"


@pytest.mark.limit(600)
def test_equal_to_python() -> None:
    generator = Generator(seed=51)
    writer = Writer(generator)
    memory = generator.memory()
    count = 100_000 if LONG else 4_000
    seen = {True: 0, False: 0, None: 0}
    refused = 0
    for _ in range(count):
        text = writer.truth(generator.random.randint(0, 3))
        try:
            expr = parse(text)
        except ParseError:
            refused += 1
            continue
        for _ in range(2):
            state = generator.state(memory)
            expected: bool | None
            try:
                expected = by_python(text, state)
            except Fault:
                expected = None
            found: bool | None
            try:
                found = value(expr, state.regs, state.memory.read, state.hits) != 0
            except Undecided:
                found = None
            assert found == expected, text
            seen[expected] += 1
    assert refused < count / 2
    assert min(seen.values()) > count / 50, seen
