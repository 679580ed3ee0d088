"""Sites for which the instructions after them are moved, too."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relive import _core
from relive.conditions import ir
from relive.conditions.inprocess.evaluator import Arm, InProcess, Site
from relive.conditions.inprocess.stub import Count, Stop
from relive.tracee.patching.chain import Link, Search
from relive.tracee.patching.space import Allowed, Intervals, find
from tests.patching.conftest import Build
from tests.patching.traced import ORIG_RAX, RIP, Process, Tracer, base_of, symbols

ROUNDS = 3000
_SINGLESTEP = 9
_SIZE = 5


def test_jumps_lead_where_it_was_said() -> None:
    """The bytes of all jumps of a chain, decoded one by one."""
    rng = random.Random(7)
    solved = 0
    for _ in range(150):
        at = 0x7F00_0000_0000 + rng.getrandbits(24)
        links = []
        for _ in range(rng.randrange(2, 6)):
            links.append(Link(at, rng.choice((1, 1, 2, 2, 3, 4, 5, 7))))
            at += links[-1].size
        free = Intervals()
        for _ in range(200):
            start = links[0].address + rng.randrange(-(1 << 31), 1 << 31) & -4096
            free.add(start, start + rng.choice((4096, 1 << 16, 1 << 24)))
        before = list(free)
        behind = {a: rng.randrange(256) for a in range(at, at + 16)}
        taken: list[int] = []

        def land(
            origin: int,
            allowed: Allowed,
            low: int,
            free: Intervals = free,
            taken: list[int] = taken,
        ) -> int | None:
            bounds = (max(low, origin - (1 << 31)), origin + (1 << 31))
            found = find(free, origin, allowed, 0, _SIZE, bounds)
            if found is not None:
                free.remove(found, found + _SIZE)
                taken.append(found)
            return found

        def give_back(landing: int, free: Intervals = free, taken: list[int] = taken) -> None:
            taken.remove(landing)
            free.add(landing, landing + _SIZE)

        def possible(origin: int, allowed: Allowed, free: Intervals = free) -> bool:
            bounds = (origin - (1 << 31), origin + (1 << 31))
            return find(free, origin, allowed, 0, _SIZE, bounds) is not None

        search = Search(behind.__getitem__, land, give_back, possible)
        solution = next(search.solutions(links), None)
        if solution is None:
            assert not taken
            assert list(free) == before
            continue
        solved += 1
        assert sorted(solution.landings) == sorted(taken)
        byte = {**behind, **solution.written}
        assert all(byte[a] == behind[a] for a in behind)
        for link, head, landing in zip(links, solution.heads, solution.landings, strict=True):
            assert 1 <= len(head) <= link.size
            assert head[-1] == 0xE9
            assert all(byte[link.address + i] == b for i, b in enumerate(head))
            jump = link.address + len(head)
            displacement = bytes(byte[a] for a in range(jump, jump + 4))
            assert jump + 4 + int.from_bytes(displacement, "little", signed=True) == landing
    assert solved > 50


class Run:
    """A traced run of the program, not begun yet."""

    def __init__(self, path: str) -> None:
        self.reader, writer = os.pipe()
        self.tracer = Tracer([path, str(ROUNDS)], stdout=writer)
        os.close(writer)
        self.process: Process = self.tracer.main
        self.evaluator = InProcess(self.process, self.process.patcher)
        self.process.evaluator = self.evaluator
        base = base_of(self.process, Path(path).name)
        start, size = symbols(path)["lone"]
        self.function = (base + start, base + start + size)
        self.addresses = {n: base + symbols(path)[n][0] for n in ("short", "after", "third")}
        self.clean = self.code()

    def code(self) -> bytes:
        return self.process.read(self.function[0], self.function[1] - self.function[0])

    def arm(self, *names: str) -> list[Site]:
        wanted = [Arm(self.addresses[n], ir.FALSE, Stop(), self.function) for n in names]
        made = self.evaluator.arm(wanted)
        sites = [made[self.addresses[n]] for n in names]
        assert all(isinstance(site, Site) for site in sites), made
        return [site for site in sites if isinstance(site, Site)]

    def disarm(self, *names: str) -> None:
        self.evaluator.disarm([self.addresses[n] for n in names])

    def finish(self) -> None:
        self.tracer.run()
        assert self.process.status == 0
        with os.fdopen(self.reader) as f:
            assert f.read() == f"{2 * ROUNDS & 0xFF} {ROUNDS}\n"


HITS = {"short": ROUNDS - (ROUNDS + 2) // 3, "after": ROUNDS, "third": ROUNDS}


@pytest.fixture
def lone(built: Build) -> Iterator[Run]:
    run = Run(built("chains.c"))
    with run.tracer:
        yield run


def test_successors_are_moved(lone: Run) -> None:
    """... and are still where the program jumps to."""
    (site,) = lone.arm("short")
    assert site.patch.in_process
    assert next(h.address for h in site.patch.helpers) == lone.addresses["after"]
    assert lone.code() != lone.clean
    start = lone.function[0]
    assert lone.process.patcher.read_original(start, len(lone.clean)) == lone.clean
    lone.finish()
    assert site.hits == HITS["short"]
    assert lone.process.strays == 0
    assert not lone.process.traps


@pytest.mark.parametrize("keep", ["short", "after", "third"])
def test_moved_instruction_becomes_a_site(lone: Run, keep: str) -> None:
    """In every order, and back again."""
    everything = ["short", "after", "third"]
    others = [name for name in everything if name != keep]
    (site,) = lone.arm("short") if keep == "short" else lone.arm(keep)
    made = lone.arm(*others)
    assert {s.patch.address for s in made} == {lone.addresses[n] for n in others}
    assert all(s.patch.in_process for s in (site, *made))
    lone.disarm(*others)
    assert site.patch.in_process
    again = lone.arm(*reversed(others))
    lone.finish()
    assert site.hits == HITS[keep]
    assert [s.hits for s in again] == [HITS[n] for n in reversed(others)]


def test_nothing_is_left(lone: Run) -> None:
    lone.arm("short")
    lone.disarm("short")
    assert lone.code() == lone.clean
    lone.arm("short", "after", "third")
    lone.disarm("after")
    lone.disarm("short", "third")
    assert lone.code() == lone.clean
    assert lone.evaluator.close()
    assert not lone.process.patcher.arenas.pages()
    lone.finish()


def _step_through(lone: Run, at: Callable[[int], None]) -> int:
    """From the short instruction to the third; `at` is called with each rip in between."""
    process, tid = lone.process, lone.process.pid
    steps = 0
    while True:
        rip = process.get_registers(tid)[RIP]
        if rip == lone.addresses["third"]:
            return steps
        at(rip)
        _core.resume(tid, _SINGLESTEP)
        _, status = _core.wait(tid)
        assert os.WIFSTOPPED(status)
        assert os.WSTOPSIG(status) == 5, status
        steps += 1
        assert steps < 500


def _start(lone: Run) -> None:
    process, tid = lone.process, lone.process.pid
    registers = list(process.get_registers(tid))
    registers[RIP], registers[ORIG_RAX] = lone.addresses["short"], ir.WORD_MASK
    registers[10] = registers[19] - 256  # rax, below rsp: the instructions write there
    process.set_registers(tid, registers)


def test_present_shows_original_addresses(lone: Run) -> None:
    lone.arm("short")
    _start(lone)
    shown: list[int] = []

    def look(rip: int) -> None:
        del rip
        now = lone.process.get_registers(lone.process.pid)
        shown.append(lone.process.patcher.present(now)[RIP])

    steps = _step_through(lone, look)
    order = [lone.addresses[n] for n in ("short", "after", "third")]
    # The end of the copy of "short" belongs to what follows.
    assert set(shown) <= set(order)
    assert shown == sorted(shown)
    assert steps > 6


def test_taken_away_at_every_instruction(lone: Run) -> None:
    """In the landing, the stub, its copy, and the copies of what was moved."""
    for stop_after in range(1, 200):
        (site,) = lone.arm("short")
        _start(lone)
        tid = lone.process.pid
        for _ in range(stop_after):
            _core.resume(tid, _SINGLESTEP)
            _core.wait(tid)
            if lone.process.get_registers(tid)[RIP] == lone.addresses["third"]:
                lone.disarm("short")
                assert stop_after > 6
                return
        before = lone.process.patcher.present(lone.process.get_registers(tid))
        lone.disarm("short")
        now = lone.process.get_registers(tid)
        assert lone.code() == lone.clean
        assert now[RIP] == before[RIP]
        assert now[RIP] in lone.addresses.values()
        assert site.hits == 1 or now[RIP] == lone.addresses["short"]
    pytest.fail("it has no end")


def test_counting_goes_on_beside_a_new_site(lone: Run) -> None:
    """A task in the stub of a site that is patched anew is counted once."""
    for stop_after in range(1, 60):
        target = Arm(lone.addresses["short"], ir.TRUE, Count(0), lone.function)
        site = lone.evaluator.arm([target])[lone.addresses["short"]]
        assert isinstance(site, Site)
        _start(lone)
        tid = lone.process.pid
        for _ in range(stop_after):
            _core.resume(tid, _SINGLESTEP)
            _core.wait(tid)
        (after,) = lone.arm("after")
        at = lone.process.get_registers(tid)[RIP]
        steps = _step_through(lone, lambda rip: None) if at != lone.addresses["third"] else 0
        assert site.hits == 1
        assert after.hits == (steps > 0)
        lone.disarm("short", "after")
        if not steps:
            return
    pytest.fail("it has no end")
