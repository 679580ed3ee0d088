"""Conditions as BPF programs mean what the reference says: run by BPF_PROG_TEST_RUN.

A program of type BPF_PROG_TYPE_SYSCALL has the same body as one on a breakpoint; its context is
the registers that the test gives, and it reads this process's memory.
"""

from __future__ import annotations

import struct

import pytest

from relive.arch import x86_64
from relive.conditions import ir
from relive.conditions.ir import Binary, Const, Expr, Hits, Load, Outcome, Reg, all_of
from relive.conditions.kernel import abi, layout
from relive.conditions.kernel.bpf import BpfRefused, DirectLoader, Program, load_program
from relive.conditions.kernel.lower_bpf import (
    N_VISIBLE,
    CannotLower,
    Collecting,
    Deliver,
    Lowered,
    lower,
    supports,
)
from relive.conditions.reference import evaluate
from tests.conditions.kernel_child import FLAGS, MASKED, Pages
from tests.conditions.kernel_facilities import need_bpf
from tests.conditions.strategies import TRIPLES, Memory, State, triples

#: one page each, with nothing mapped around them
RANGES = ((0x6B00_0000_0000, 4096), (0x6B10_0000_0000, 4096))
VISIBLE = tuple(range(N_VISIBLE))
NOTHING = Memory(())


@pytest.fixture(autouse=True)
def _facilities() -> None:
    need_bpf(abi.BPF_PROG_TYPE_SYSCALL)


def lowered(expr: Expr) -> Lowered:
    return lower(expr, kind=abi.BPF_PROG_TYPE_SYSCALL, deliver=Deliver.OUTCOME)


def decide(program: Program, constants: list[int], state: State) -> Outcome:
    """Run a program that may have run before on a state."""
    program.values[layout.CONSTANTS : layout.CONSTANTS + len(constants)] = memoryview(
        struct.pack(f"{len(constants)}Q", *constants)
    ).cast("Q")
    program.values[layout.HITS] = state.hits - 1
    before = list(program.values[1:4])
    outcome = Outcome(program.test_run(struct.pack(f"<{N_VISIBLE}Q", *state.regs[:N_VISIBLE])))
    assert program.values[layout.HITS] == state.hits
    counted = [after - then for then, after in zip(before, program.values[1:4], strict=True)]
    assert counted == [outcome == Outcome.MATCH, outcome == Outcome.UNDECIDED, 0]
    return outcome


def run(expr: Expr, regs: dict[int, int] | None = None, hits: int = 1) -> Outcome:
    code, constants = lowered(expr)
    with Program(code, DirectLoader()) as program:
        words = tuple((regs or {}).get(index, 0) for index in range(27))
        return decide(program, constants, State(words, NOTHING, hits))


@pytest.mark.limit(1200)
def test_equivalence() -> None:
    seen = set()
    with Pages(RANGES) as pages:
        for expr, state in triples(TRIPLES, 11, VISIBLE, RANGES):
            code, constants = lowered(expr)
            pages.fill(state.memory)
            with Program(code, DirectLoader()) as program:
                found = decide(program, constants, state)
            expected = evaluate(expr, state.regs, state.memory.read, state.hits)
            assert found == expected, (expr, state.regs, state.hits)
            seen.add(found)
    assert seen == set(Outcome)


def test_a_program_serves_all_conditions_of_its_shape() -> None:
    def condition(number: int) -> Expr:
        return Binary("ult", Binary("mul", Reg(5), Const(number)), Const(number + 1000))

    code, _ = lowered(condition(0))
    with Program(code, DirectLoader()) as program:
        for number in (1, 7, 1 << 40, ir.WORD_MASK - 1000):
            again, constants = lowered(condition(number))
            assert again == code
            for rbx in (0, 1, 500, 1 << 50):
                state = State((0, 0, 0, 0, 0, rbx, *[0] * 21), NOTHING, 1)
                found = decide(program, constants, state)
                assert found == evaluate(condition(number), state.regs, NOTHING.read, 1)


@pytest.mark.parametrize("op", ["udiv", "sdiv", "urem", "srem"])
def test_division_by_zero_is_undecided(op: ir.BinaryOp) -> None:
    assert run(Binary(op, Reg(0), Reg(1)), {0: 5}) == Outcome.UNDECIDED
    guarded = ir.Logic("and", Reg(1), Binary(op, Reg(0), Reg(1)))
    assert run(guarded, {0: 5}) == Outcome.REJECT


def test_a_load_that_faults_is_undecided() -> None:
    for address in (0, RANGES[0][0] - 1, 0xFFFF_8000_0000_0000, ir.WORD_MASK, 1 << 47):
        assert run(Load(Const(address), 1)) == Outcome.UNDECIDED


def test_hits() -> None:
    assert run(Binary("eq", Hits(), Const(7)), hits=7) == Outcome.MATCH
    assert run(Binary("eq", Hits(), Const(7)), hits=8) == Outcome.REJECT


def test_trap_and_resume_flag_are_not_seen() -> None:
    flags = Reg(FLAGS)
    assert run(Binary("eq", flags, Const(0x246)), {FLAGS: 0x246 | MASKED}) == Outcome.MATCH
    high = ir.WORD_MASK & ~MASKED
    assert run(Binary("eq", flags, Const(high)), {FLAGS: ir.WORD_MASK}) == Outcome.MATCH


def test_wide_conditions() -> None:
    terms = [Binary("eq", Reg(i % 15), Const(i % 15 + 1)) for i in range(1900)]
    regs = {i: i + 1 for i in range(15)}
    assert run(all_of(terms), regs) == Outcome.MATCH
    assert run(all_of(terms), {**regs, 14: 0}) == Outcome.REJECT
    assert run(ir.any_of(terms), {14: 15}) == Outcome.MATCH


def test_memory_words_of_a_landmark() -> None:
    with Pages(RANGES[:1]) as pages:
        start = RANGES[0][0]
        data = bytes(range(256)) * 16
        pages.fill(Memory(((start, data),)))
        terms = [
            Binary(
                "eq", Load(Const(start + i), 8), Const(int.from_bytes(data[i : i + 8], "little"))
            )
            for i in range(0, 4096, 8)
        ]
        assert run(all_of(terms)) == Outcome.MATCH
        wrong = Binary("eq", Load(Const(start + 4088), 8), Const(0))
        assert run(all_of([*terms, wrong])) == Outcome.REJECT


@pytest.mark.parametrize("right", [False, True])
def test_deep_conditions(right: bool) -> None:
    """A chain as deep as allowed needs next to no places, whichever way it leans."""
    expr: Expr = Binary("add", Reg(0), Const(0))
    for _ in range(ir.MAX_DEPTH - 2):
        more = Binary("mul", Reg(1), Const(1))
        expr = Binary("xor", more, expr) if right else Binary("xor", expr, more)
    state = State((3, 5, *[0] * 25), NOTHING, 1)
    assert run(expr, {0: 3, 1: 5}) == evaluate(expr, state.regs, NOTHING.read, 1)


def test_balanced_conditions_use_few_places() -> None:
    def tree(depth: int) -> Expr:
        if depth == 0:
            return Binary("add", Reg(0), Const(1))
        return Binary("sub", tree(depth - 1), Binary("mul", tree(depth - 1), Const(3)))

    expr = tree(9)
    state = State((3, *[0] * 26), NOTHING, 1)
    assert run(expr, {0: 3}) == evaluate(expr, state.regs, NOTHING.read, 1)


@pytest.mark.parametrize("name", ["fs_base", "gs_base", "ds", "es", "fs", "gs"])
def test_registers_that_no_program_sees(name: str) -> None:
    reason = supports(Binary("eq", ir.reg(name), Const(0)))
    assert reason is not None
    assert name in reason


def test_registers_that_every_program_sees() -> None:
    for register in x86_64.REGISTERS[:N_VISIBLE]:
        assert supports(Reg(register.index)) is None


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(CannotLower, match="constants"):
        lower(all_of([Const(1)] * 4100))
    assert "values" in str(supports(ir.TRUE, [Reg(0)] * 80))
    assert supports(ir.TRUE, [Reg(0)] * 40) is None
    load = Load(Const(0), 4)
    assert "too long" in str(supports(all_of([ir.Logic("or", load, load)] * 2000)))


def test_collecting_programs_load() -> None:
    need_bpf()
    for count in (1, 2, 40):
        code, _ = lower(ir.TRUE, collect=Collecting(tuple([Hits()] * count), ring_size=4096))
        Program(code, DirectLoader()).close()


def test_a_refusal_shows_the_verifiers_log() -> None:
    # mov64 r0, r5 (never set); exit
    with pytest.raises(BpfRefused) as info:
        load_program(abi.BPF_PROG_TYPE_SYSCALL, struct.pack("<QQ", 0x50BF, 0x95), 1 << 4)
    assert "R5" in info.value.log
    assert "R5" in str(info.value)
