"""Sites amid threads, signals, exceptions, forks; armed and disarmed while all of it runs."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from iced_x86 import Decoder

from relive.conditions import ir
from relive.conditions.inprocess.evaluator import Arm, InProcess, Site
from relive.conditions.inprocess.stub import Collect, Count, Stop
from tests.conditions.strategies import LONG
from tests.patching.conftest import Build
from tests.patching.traced import Process, Tracer, base_of, symbols

SHORT = ("short1", "short2", "short3", "short4", "relative", "last")


class Run:
    """A traced program before its first instruction, with its symbols."""

    def __init__(self, argv: list[str]) -> None:
        self.reader, writer = os.pipe()
        self.tracer = Tracer(argv, stdout=writer)
        os.close(writer)
        self.process = self.tracer.main
        self.evaluator = InProcess(self.process, self.process.patcher)
        self.process.evaluator = self.evaluator
        self.process.on_full = lambda: None
        self.base = base_of(self.process, Path(argv[0]).name)
        self.symbols = symbols(argv[0])
        self.data = {n: v for n, (v, _) in symbols(argv[0], "STT_OBJECT").items()}

    def bounds(self, name: str) -> tuple[int, int]:
        start, size = self.symbols[name]
        return self.base + start, self.base + start + size

    def instructions(self, name: str) -> list[int]:
        start, end = self.bounds(name)
        code = self.process.patcher.read_original(start, end - start)
        return [i.ip for i in Decoder(64, code, ip=start)]

    def output(self) -> str:
        with os.fdopen(self.reader) as f:
            return f.read()


@contextmanager
def run(*argv: object) -> Iterator[Run]:
    started = Run([str(a) for a in argv])
    with started.tracer:
        yield started


def _conditions(rng: random.Random) -> ir.Expr:
    never = ir.Const(0xFEED_FACE_DEAD_BEEF)
    return rng.choice(
        (
            ir.FALSE,
            ir.Binary("eq", ir.reg("rax"), never),
            ir.Binary("eq", ir.Load(ir.Binary("add", ir.reg("rsp"), ir.Const(8)), 8), never),
            ir.Binary("eq", ir.Binary("mul", ir.reg("rbx"), ir.reg("rcx")), never),
            ir.Binary("eq", ir.Binary("udiv", ir.reg("rbx"), ir.Const(3)), never),
            ir.Binary("ult", ir.Hits(), ir.Const(1)),
        )
    )


@pytest.mark.parametrize("signals", [0, 1])
@pytest.mark.parametrize("threads", [1, 8])
def test_threads_and_signals(built: Build, threads: int, signals: int) -> None:
    rng = random.Random(threads + signals)
    each = 200_000 if LONG else 20_000
    with run(built("threads.c", "-pthread"), threads, each, signals) as started:
        function = started.bounds("careful")
        arms = [
            Arm(started.bounds(name)[0], _conditions(rng), Count(0), function) for name in SHORT
        ]
        outcome = started.evaluator.arm(arms)
        sites = [s for s in outcome.values() if isinstance(s, Site)]
        assert len(sites) >= 4, outcome
        started.tracer.run()
        calls, wrong, handled = map(int, started.output().split())
        assert wrong == 0
        assert handled == bool(signals)
        assert calls >= threads * each
        for site in sites:
            assert site.hits == calls, site
            assert site.candidates == 0


@pytest.mark.parametrize("lose", [False, True])
def test_collecting_from_threads(built: Build, lose: bool) -> None:
    threads, each = 4, 20_000
    with run(built("threads.c", "-pthread"), threads, each, 1) as started:
        started.evaluator._ring_size = 1 << 16
        address, _ = started.bounds("relative")
        values = (ir.reg("rax"), ir.Load(ir.reg("rsp"), 8), ir.reg("rsp"))
        outcome = started.evaluator.arm(
            [Arm(address, ir.TRUE, Collect(values, lose=lose), started.bounds("careful"))]
        )
        site = outcome[address]
        assert isinstance(site, Site), site
        hits: list[int] = []
        tasks: set[int] = set()

        def take() -> None:
            for _, record in started.evaluator.records():
                hits.append(record.hit)
                tasks.add(record.thread)

        started.process.on_full = take
        started.tracer.run()
        take()
        calls, wrong, _ = map(int, started.output().split())
        assert wrong == 0
        assert site.hits == calls
        assert len(set(hits)) == len(hits)
        if lose:
            assert len(hits) + site.lost == calls
        else:
            assert sorted(hits) == list(range(1, calls + 1))
            assert len(tasks) >= threads


def test_exceptions_through_patched_frames(built: Build) -> None:
    program = built("exceptions.cc")
    with run(program, 40) as started:
        started.tracer.run()
        plain = started.output()
    with run(program, 40) as started:
        wanted = []
        for name, (start, size) in started.symbols.items():
            if any(part in name for part in ("deepest", "middle", "outer", "frames", "main")):
                function = (started.base + start, started.base + start + size)
                wanted += [Arm(a, ir.FALSE, Stop(), function) for a in started.instructions(name)]
        outcome = started.evaluator.arm(wanted)
        sites = [s for s in outcome.values() if isinstance(s, Site)]
        assert len(sites) > 0.5 * len(wanted) > 50
        started.tracer.run()
        assert started.output() == plain
        assert started.process.status == 0
        assert any(s.hits == 40 for s in sites)


def test_forks(built: Build) -> None:
    with run(built("forks.c", "-pthread")) as started:
        address, _ = started.bounds("counted")
        outcome = started.evaluator.arm(
            [Arm(address, ir.TRUE, Count(0), started.bounds("counted"))]
        )
        site = outcome[address]
        assert isinstance(site, Site), site
        children: list[Process] = []

        def forked(parent: Process, child: Process) -> None:
            assert parent is started.process
            started.evaluator.several_tasks(True)
            assert child.patcher.read_original(address, 16) == parent.patcher.read_original(
                address, 16
            )
            if children:
                # The second and third child go on without the site.
                child.patcher.update(remove=[address])
            children.append(child)

        started.tracer.on_fork = forked
        started.tracer.run()
        assert started.output() == f"{10 + 150 + 10}\n"
        assert [child.status for child in children] == [50 << 8] * 3
        assert site.hits == 10 + 50 + 1 + 100 + 10


@pytest.mark.limit(120)
def test_armed_and_disarmed_while_running(built: Build) -> None:
    rng = random.Random(5)
    seconds = 30 if LONG else 4
    with run(built("threads.c", "-pthread"), 4, 1_000_000_000, 1) as started:
        function = started.bounds("careful")
        always = started.bounds("short3")[0]
        outcome = started.evaluator.arm([Arm(always, ir.TRUE, Count(0), function)])
        kept = outcome[always]
        assert isinstance(kept, Site), kept
        others = [a for a in started.instructions("careful") if a != always]
        armed: set[int] = set()
        deadline = time.monotonic() + seconds
        changes = 0
        started.tracer.resume()
        counter = started.base + started.data["calls"]
        while time.monotonic() < deadline:
            pause = time.monotonic() + rng.random() * 0.004
            while time.monotonic() < pause:
                started.tracer.poll()
            started.tracer.stop()
            remove = rng.sample(sorted(armed), rng.randrange(len(armed) + 1))
            started.evaluator.disarm(remove)
            armed -= set(remove)
            free = [a for a in others if a not in armed]
            add = rng.sample(free, min(len(free), rng.randrange(8)))
            made = started.evaluator.arm(
                [Arm(a, _conditions(rng), Count(0), function) for a in add]
            )
            armed |= {a for a, s in made.items() if isinstance(s, Site)}
            changes += len(remove) + len(add)
            started.tracer.resume()
        started.tracer.stop()
        calls = int.from_bytes(started.process.read(counter, 8), "little")
        # Each of the threads (and handlers in them) may be between the site and its counting.
        assert 0 <= kept.hits - calls <= 4 * 40, (kept.hits, calls)
        assert calls > 1000
        assert changes > 50
        started.evaluator.disarm(list(started.evaluator.sites))
        wrong = started.process.read(started.base + started.data["wrong"], 8)
        assert wrong == bytes(8)
        started.tracer.resume()
        until = time.monotonic() + 0.2
        while time.monotonic() < until:
            started.tracer.poll()
        started.tracer.stop()
        assert started.process.read(started.base + started.data["wrong"], 8) == bytes(8)
