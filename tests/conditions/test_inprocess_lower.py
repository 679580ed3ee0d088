"""The native stub against the reference, on random conditions, registers and memory."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from relive.arch import x86_64
from relive.conditions import ir
from relive.conditions.inprocess.build import build
from relive.conditions.inprocess.stub import Count, Point, Stop, TooComplex
from relive.conditions.ir import Outcome
from relive.conditions.reference import evaluate
from relive.tracee.patching import Target
from tests.conditions.strategies import LONG, TRIPLES, Generator
from tests.conditions.stub_runner import RANGES, RIP, FrameMemory, Job, Runner, counters

SITE = 0x5555_1234_5678
SOURCE = Path(__file__).parent / "programs" / "stub_runner.c"
ALL_REGISTERS = tuple(range(ir.N_REGISTERS))
TRAPS = {Point.MATCH: Outcome.MATCH, Point.UNDECIDED: Outcome.UNDECIDED}


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    program = tmp_path_factory.mktemp("stub") / "runner"
    subprocess.run(
        ["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-o", program, SOURCE], check=True, timeout=60
    )
    with Runner(program) as runner:
        yield runner


class _Unknown(Exception):
    """A load from the child's own memory, whose contents nobody told the reference."""


def _jobs(
    runner: Runner, generator: Generator, count: int
) -> Iterator[tuple[Job, ir.Expr, list[int], int]]:
    memory = generator.memory()
    own = runner.mapped()

    def read(address: int, size: int) -> bytes:
        try:
            return memory.read(address, size)
        except OSError:
            if any(start < address + size and address < end for start, end in own):
                raise _Unknown from None
            raise

    made = 0
    last = None
    while made < count:
        if made % 16 == 0:
            memory = generator.memory()
        expr = generator.expr()
        try:
            stub = build(expr, Stop(), site=SITE, site_id=1, counters=counters())
        except TooComplex:
            continue
        stub.locked = bool(made & 1)
        state = generator.state(memory)
        regs = runner.registers(state.regs, SITE)
        fresh = last is not memory
        contents = cast(tuple[bytes, bytes], tuple(data for _, data in memory.regions))
        job = Job(
            stub, regs, contents if fresh else None, ((state.hits - 1) & ir.WORD_MASK, *(0,) * 7)
        )
        try:
            expected = evaluate(expr, regs, read, state.hits)
        except _Unknown:
            continue
        yield job, expr, regs, expected
        last = memory
        made += 1


@pytest.mark.limit(1200 if LONG else 60)
@pytest.mark.parametrize("registers", ["general", "all"])
@pytest.mark.parametrize("depth", [3, 5, 8])
def test_agrees_with_the_reference(runner: Runner, registers: str, depth: int) -> None:
    some = Generator(depth).registers if registers == "general" else ALL_REGISTERS
    generator = Generator(depth, some, RANGES, depth)
    count = TRIPLES // 6
    cases = list(_jobs(runner, generator, count))
    seen = set()
    for (job, expr, regs, expected), answer in zip(
        cases, runner.run(c[0] for c in cases), strict=True
    ):
        stub = job.stub
        target = cast(Target, FrameMemory(regs[x86_64.BY_NAME["rsp"].index], answer.frame))
        code, _ = stub.assemble(0)
        if answer.signal == 5 and answer.offset == len(code):
            outcome = Outcome.REJECT
        elif answer.signal == 5:
            outcome = TRAPS[stub.points[answer.offset]]
        else:
            assert answer.offset in stub.loads, (expr, answer.signal, hex(answer.regs[RIP]))
            outcome = Outcome.UNDECIDED
        assert outcome == expected, expr
        seen.add((outcome, answer.signal))
        if outcome != Outcome.REJECT:
            before = stub.view(answer.offset, answer.regs, target)
            before[RIP] = SITE
            assert before == regs, expr
        if answer.signal == 5:
            answer.regs[RIP] = SITE
            assert answer.regs == regs, expr
        assert answer.stack_intact
        hits, candidates, undecided = answer.counters[:3]
        assert hits == (job.counters[0] + 1) & ir.WORD_MASK
        assert candidates == (outcome == Outcome.MATCH)
        assert undecided == (outcome == Outcome.UNDECIDED and answer.signal == 5)
    assert {outcome for outcome, _ in seen} == set(Outcome)


def test_counting_stops_at_one_candidate(runner: Runner) -> None:
    for before, stop_at, stops in ((0, 1, True), (4, 5, True), (5, 5, False), (3, 5, False)):
        stub = build(ir.TRUE, Count(), site=SITE, site_id=1, counters=counters())
        regs = runner.registers([7] * ir.N_REGISTERS, SITE)
        job = Job(stub, regs, None, (9, before, 0, stop_at, 0, 0, 0, 0))
        (answer,) = runner.run([job])
        assert answer.counters[:2] == (10, before + 1)
        assert (answer.offset in stub.points) == stops
        answer.regs[RIP] = SITE
        assert answer.regs == regs
