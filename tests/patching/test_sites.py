"""One site: hit, counted, decided, taken away, in every form of program."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from relive.conditions import ir
from relive.conditions.inprocess.evaluator import Arm, InProcess, Site
from relive.conditions.inprocess.stub import Collect, Count, Stop
from relive.conditions.ir import Outcome
from relive.tracee.patching import Form
from tests.patching.conftest import Build
from tests.patching.traced import RBX, RIP, Tracer, base_of, symbols

WAYS = {"pie": (), "fixed": ("-no-pie",), "static": ("-static",)}


@pytest.fixture(params=list(WAYS))
def loop(request: pytest.FixtureRequest, built: Build) -> str:
    return built("loop.c", *WAYS[request.param])


class Traced:
    """A traced run of the loop, not begun yet."""

    def __init__(self, path: str, n: int) -> None:
        self.reader, writer = os.pipe()
        self.tracer = Tracer([path, str(n)], stdout=writer)
        os.close(writer)
        self.process = self.tracer.main
        self.symbols = symbols(path)
        base = base_of(self.process, Path(path).name)
        self.base = base if base >= 1 << 32 else 0
        self.evaluator = InProcess(self.process, self.process.patcher)
        self.process.evaluator = self.evaluator

    def arm(self, name: str, condition: ir.Expr, action: object = None) -> Site:
        address = self.base + self.symbols[name][0]
        start, size = self.symbols["hot"]
        arm = Arm(
            address,
            condition,
            action or Stop(),  # type: ignore[arg-type]
            (self.base + start, self.base + start + size),
        )
        site = self.evaluator.arm([arm])[address]
        assert isinstance(site, Site), site
        return site

    def finish(self) -> str:
        self.tracer.run()
        with os.fdopen(self.reader) as f:
            return f.read()


@pytest.fixture
def traced(loop: str) -> Iterator[Traced]:
    run = Traced(loop, 1000)
    with run.tracer:
        yield run


@pytest.mark.parametrize("name", ["site", "branch", "hot"])
def test_hits_are_counted_exactly(traced: Traced, name: str) -> None:
    site = traced.arm(name, ir.FALSE)
    assert traced.finish() == "1000\n"
    assert traced.process.status == 0
    assert site.hits == (1 if name == "hot" else 1000)
    assert site.rejected == site.hits
    assert site.patch.form in (Form.JUMP, Form.PUN)
    assert traced.process.strays == 0


def test_stops_at_each_candidate(traced: Traced) -> None:
    condition = ir.Binary("eq", ir.Binary("and", ir.reg("rbx"), ir.Const(0x7F)), ir.Const(0x7F))
    site = traced.arm("branch", condition)
    assert traced.finish() == "1000\n"
    assert [hit.registers[RBX] for hit in traced.process.hits] == list(range(127, 1000, 128))
    assert {hit.registers[RIP] for hit in traced.process.hits} == {site.address}
    assert all(hit.outcome == Outcome.MATCH for hit in traced.process.hits)
    assert (site.hits, site.candidates, site.undecided) == (1000, 7, 0)


def test_faulting_load_stops_and_goes_on(traced: Traced) -> None:
    # Undecided at rbx == 500 only: a load from a page that nobody maps.
    condition = ir.Logic(
        "and",
        ir.Binary("eq", ir.reg("rbx"), ir.Const(500)),
        ir.Load(ir.Binary("add", ir.reg("rbx"), ir.Const(16)), 8),
    )
    site = traced.arm("site", condition)
    assert traced.finish() == "1000\n"
    assert traced.process.status == 0
    (hit,) = traced.process.hits
    assert hit.outcome == Outcome.UNDECIDED
    assert hit.registers[RBX] == 500
    assert (site.hits, site.candidates, site.undecided) == (1000, 0, 1)


def test_counts_to_a_candidate(traced: Traced) -> None:
    odd = ir.Binary("and", ir.reg("rbx"), ir.Const(1))
    site = traced.arm("site", odd, Count(37))
    assert traced.finish() == "1000\n"
    (hit,) = traced.process.hits
    assert hit.registers[RBX] == 2 * 37 - 1
    assert (site.hits, site.candidates) == (1000, 500)


def test_collects(traced: Traced) -> None:
    values = (ir.reg("rbx"), ir.Load(ir.reg("rsi"), 8), ir.Const(1 << 40), ir.reg("rip"))
    site = traced.arm("branch", ir.TRUE, Collect(values))
    assert traced.finish() == "1000\n"
    records = traced.evaluator.records()
    assert [r.hit for _, r in records] == list(range(1, 1001))
    assert [r.values for _, r in records] == [(i, i, 1 << 40, site.address) for i in range(1, 1001)]
    assert site.candidates == site.hits == 1000


@pytest.mark.parametrize("lose", [False, True])
def test_full_ring(loop: str, lose: bool) -> None:
    run = Traced(loop, 10_000)
    with run.tracer:
        run.evaluator._ring_size = 4096
        taken: list[int] = []

        def take() -> None:
            taken.extend(r.values[0] for _, r in run.evaluator.records())

        if not lose:
            run.process.on_full = take
        site = run.arm("site", ir.TRUE, Collect((ir.reg("rbx"),), lose=lose))
        assert run.finish() == "10000\n"
        take()
        if lose:
            assert taken == list(range(4096 // 40))
            assert site.lost == 10_000 - len(taken)
        else:
            assert taken == list(range(10_000))
            assert site.lost == 0


def test_reads_as_if_nothing_were_patched(traced: Traced) -> None:
    start, size = traced.symbols["hot"]
    before = traced.process.read(traced.base + start, size)
    for name in ("hot", "site", "branch"):
        traced.arm(name, ir.FALSE)
    assert traced.process.read(traced.base + start, size) != before
    assert traced.process.patcher.read_original(traced.base + start, size) == before
    assert traced.process.patcher.read_original(traced.base + start + 2, 3) == before[2:5]
    traced.evaluator.disarm([s.address for s in list(traced.evaluator.sites.values())])
    assert traced.process.read(traced.base + start, size) == before
    assert traced.evaluator.close()
    assert not traced.process.patcher.arenas.pages()
    assert traced.finish() == "1000\n"


def test_present_shows_the_original_registers(traced: Traced) -> None:
    site = traced.arm("site", ir.Binary("eq", ir.reg("rbx"), ir.Const(3)))
    seen = []

    def look(tid: int, hit: object) -> None:
        shown = traced.process.patcher.present(traced.process.get_registers(tid))
        seen.append((shown[RIP], shown[RBX]))

    traced.process.on_hit = look
    traced.finish()
    assert seen == [(site.address, 3)]


def test_every_instruction_of_the_loop_at_once(traced: Traced) -> None:
    from relive.tracee.patching.decode import instructions

    start, size = (traced.base + traced.symbols["hot"][0], traced.symbols["hot"][1])
    wanted = [
        Arm(i.ip, ir.FALSE, Stop(), (start, start + size))
        for i in instructions(traced.process.read, start, size)
    ]
    outcome = traced.evaluator.arm(wanted)
    sites = [s for s in outcome.values() if isinstance(s, Site)]
    # Below 2 GiB most displacements that end in a neighbour's bytes lead nowhere.
    assert len(sites) >= (len(wanted) - 1 if traced.base else len(wanted) // 2), outcome
    assert traced.finish() == "1000\n"
    for site in sites:
        inside = traced.base + traced.symbols["site"][0] <= site.address
        inside &= site.address <= traced.base + traced.symbols["branch"][0]
        assert site.hits == (1000 if inside else 1), hex(site.address)
