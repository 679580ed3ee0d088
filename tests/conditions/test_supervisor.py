"""The supervisor's C machine against the reference, on random conditions and states."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator

import pytest

from relive import _core
from relive.conditions import ir, reference, supervisor
from relive.conditions.ir import Const, Load, Logic, Outcome, Reg
from tests.conditions.strategies import TRIPLES, Generator

PAGE = mmap.PAGESIZE
PROT_NONE = 0

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


@pytest.fixture(scope="module")
def page() -> Iterator[int]:
    """A readable page between two that exist but can't be read, far from everything else."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    start = libc.mmap(0x2A5A_0000_0000, 3 * PAGE, PROT_NONE, flags, -1, 0)
    assert libc.mprotect(start + PAGE, PAGE, mmap.PROT_READ | mmap.PROT_WRITE) == 0
    yield start + PAGE
    libc.munmap(start, 3 * PAGE)


@pytest.mark.limit(600)
def test_triples(page: int) -> None:
    """The same outcome for every one."""
    generator = Generator(3, ranges=((page, PAGE),), max_depth=6)
    memory = generator.memory()
    seen = dict.fromkeys(Outcome, 0)
    for number in range(TRIPLES):
        if number % 64 == 0:
            memory = generator.memory()
            ctypes.memmove(page, memory.regions[0][1], PAGE)
        expr, state = generator.expr(), generator.state(memory)
        expected = reference.evaluate(expr, state.regs, memory.read, state.hits)
        found = supervisor.evaluate(expr, state.regs, os.getpid(), state.hits)
        assert found == expected, (expr, state)
        seen[found] += 1
    assert all(number > TRIPLES // 50 for number in seen.values()), seen


def test_trap_and_resume_flag_are_not_seen() -> None:
    """They are set by the kernel and by tracers: at a debug register, and while stepping."""
    regs = [0] * ir.N_REGISTERS
    flags = ir.reg("eflags")
    regs[flags.index] = 0x246 | 0x10100
    for condition, outcome in (
        (ir.Binary("eq", flags, Const(0x246)), Outcome.MATCH),
        (ir.Binary("and", flags, Const(0x10100)), Outcome.REJECT),
        (Load(flags, 1), Outcome.UNDECIDED),
    ):
        assert supervisor.evaluate(condition, tuple(regs), os.getpid(), 1) == outcome
        assert reference.evaluate(condition, regs, _nothing, 1) == outcome


def _nothing(address: int, size: int) -> bytes:
    raise OSError


@pytest.mark.limit(600)
def test_many_loads_at_once(page: int) -> None:
    """Loads that are fetched together: near, far, overlapping, some beyond the readable."""
    generator = Generator(4, ranges=((page, PAGE),))
    memory = generator.memory()
    ctypes.memmove(page, memory.regions[0][1], PAGE)
    rbx = ir.reg("rbx").index
    for number in range(TRIPLES // 3):
        pick = generator.random
        terms: list[ir.Expr] = []
        base = page + pick.choice((0, 8, PAGE - 300, PAGE - 64, PAGE // 2))
        for _ in range(pick.randrange(1, 40)):
            offset = pick.choice((pick.randrange(64), pick.randrange(300), pick.randrange(PAGE)))
            size = pick.choice(ir.SIZES)
            load = Load(ir.Binary("add", Reg(rbx), Const(offset)), size, pick.random() < 0.5)
            address = base + offset
            try:
                there = memory.read(address, size)
            except OSError:
                there = b""
            value = int.from_bytes(there, "little", signed=load.signed)
            same = ir.Binary("eq", load, ir.const(value + (pick.random() < 0.02)))
            terms.append(same)
        expr = (
            ir.all_of(terms)
            if number % 2
            else Logic("or", ir.Unary("lnot", ir.all_of(terms)), ir.FALSE)
        )
        regs = [0] * ir.N_REGISTERS
        regs[rbx] = base
        expected = reference.evaluate(expr, regs, memory.read, 1)
        assert supervisor.evaluate(expr, tuple(regs), os.getpid(), 1) == expected


def test_supports_what_the_language_allows() -> None:
    deep: ir.Expr = Reg(0)
    for _ in range(ir.MAX_DEPTH + 1):
        deep = ir.Unary("not", deep)
    assert supervisor.supports(ir.TRUE) is None
    assert "deep" in (supervisor.supports(deep) or "")
    assert supervisor.supports(ir.TRUE, (ir.TRUE,) * 33) is not None


@pytest.mark.parametrize(
    ("code", "depth"),
    [
        ([("const", 1), ("const", 2)], 2),  # leaves two words
        ([("add", 0)], 2),  # takes what is not there
        ([("const", 1), ("const", 1), ("add", 0)], 1),  # more than it says
        ([("const", 1), ("jump", 1)], 1),  # backwards
        ([("const", 1), ("jump", 9)], 1),  # beyond the end
        ([("reg", 27)], 1),
        ([("const", 1), ("load", 3)], 1),
        ([("const", 1), ("const", 1), ("branch_true", 4), ("const", 1)], 3),  # depths differ
    ],
)
def test_unsound_code_is_refused(code: list[tuple[ir.LinearOp, int]], depth: int) -> None:
    linear = ir.Linear(tuple(code), depth)
    with pytest.raises(ValueError, match="no sound"):
        _core.condition(supervisor.encode(linear), (0,) * ir.N_REGISTERS, os.getpid(), 1)
