"""A task anywhere inside a stub: what it was before can always be told, and nothing is lost."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from relive import _core
from relive.arch import x86_64
from relive.conditions import ir, reference
from relive.conditions.inprocess.evaluator import Action, Arm, InProcess, Site
from relive.conditions.inprocess.stub import Collect, Count, Stop, Stub, TooComplex
from tests.conditions.strategies import GENERAL_REGISTERS, LONG, Generator
from tests.patching.conftest import Build
from tests.patching.traced import ORIG_RAX, RIP, Tracer, base_of, symbols

EFLAGS = x86_64.BY_NAME["eflags"].index
RSP = x86_64.BY_NAME["rsp"].index
SINGLESTEP = 9


@pytest.fixture
def tracer(built: Build) -> Iterator[tuple[Tracer, int, tuple[int, int]]]:
    """A process before its first instruction; a site in it, and its function."""
    path = built("loop.c")
    with Tracer([path, "1000"], stdout=os.open(os.devnull, os.O_WRONLY)) as started:
        base = base_of(started.main, Path(path).name)
        names = symbols(path)
        start, size = names["hot"]
        yield started, base + names["site"][0], (base + start, base + start + size)


def _arms(site: int, function: tuple[int, int], count: int) -> Iterator[Arm]:
    rng = random.Random(11)
    for seed in range(count):
        generator = Generator(seed, range(ir.N_REGISTERS), max_depth=4)
        expr = generator.expr()
        action: Action = rng.choice(
            (Stop(), Count(1), Collect((generator.expr(2), generator.expr(3)), rng.random() < 0.5))
        )
        if isinstance(action, Collect) and rng.random() < 0.5:
            expr = ir.TRUE
        yield Arm(site, expr, action, function)


@pytest.mark.limit(600 if LONG else 60)
def test_registers_before_are_known_everywhere(
    tracer: tuple[Tracer, int, tuple[int, int]],
) -> None:
    started, address, function = tracer
    process, tid = started.main, started.main.pid
    evaluator = InProcess(process, process.patcher)
    rng = random.Random(12)
    steps = records = 0
    for arm in _arms(address, function, 400 if LONG else 60):
        try:
            site = evaluator.arm([arm])[address]
        except TooComplex:
            continue
        if isinstance(site, str):
            assert "bytes of stack" in site, site
            continue
        stub = site.patch.request.body
        assert isinstance(stub, Stub)
        before = list(process.get_registers(tid))
        for index in GENERAL_REGISTERS:
            before[index] = rng.choice((rng.getrandbits(64), before[RSP] - 64, 7))
        before[EFLAGS] = 0x202 | rng.getrandbits(12) & 0xCD5
        before[RIP], before[ORIG_RAX] = address, ir.WORD_MASK
        process.set_registers(tid, before)
        ring = evaluator.rings[0] if evaluator.rings else None
        while True:
            _core.resume(tid, SINGLESTEP)
            _, status = _core.wait(tid)
            assert os.WIFSTOPPED(status)
            now = process.get_registers(tid)
            offset = now[RIP] - site.patch.stub
            signo = os.WSTOPSIG(status)
            if signo != 5 or offset - 1 in stub.points:
                break  # a load that faults, or one of the stub's traps
            if not 0 <= offset < site.patch.body_size:
                break
            steps += 1
            shown = process.patcher.present(now)
            shown[EFLAGS] &= ~0x100
            assert shown == before, (arm, hex(offset))
            if ring is not None and rng.random() < 0.1:
                # As if a signal came: the record is completed, if it was begun.
                after = stub.settle(offset, now, process)
                if after is not None:
                    after[EFLAGS] &= ~0x100
                    after[RIP] = address
                    assert after == before
                    now = tuple(after)
                    break
        if isinstance(arm.action, Collect) and ring is not None:
            for record in ring.read():
                records += 1
                assert record.site == site.number
                assert record.thread == before[x86_64.BY_NAME["fs_base"].index]
                assert record.hit == 1
                for value, kept in zip(arm.action.values, record.values, strict=True):
                    assert kept == reference.value(value, before, process.read, 1)
        process.set_registers(tid, before)
        evaluator.disarm([address])
    assert steps > 500
    assert records > 5


def test_rewound_hits_are_not_counted(tracer: tuple[Tracer, int, tuple[int, int]]) -> None:
    """At every instruction of the stub the site is taken away and armed again beside it."""
    started, address, function = tracer
    process, tid = started.main, started.main.pid
    evaluator = InProcess(process, process.patcher)
    start = list(process.get_registers(tid))
    start[RIP], start[ORIG_RAX] = address, ir.WORD_MASK
    start[RSP] -= 4096
    start[x86_64.BY_NAME["rsi"].index] = start[RSP]
    condition = ir.Binary("ne", ir.Load(ir.reg("rsi"), 8), ir.Const(5))
    for action in (Count(0), Collect((ir.reg("rsi"), ir.reg("eflags"))), Stop()):
        for stop_after in range(1, 60):
            site = evaluator.arm([Arm(address, condition, action, function)])[address]
            assert isinstance(site, Site)
            process.set_registers(tid, start)
            inside = True
            for _ in range(stop_after):
                _core.resume(tid, SINGLESTEP)
                _core.wait(tid)
                offset = process.get_registers(tid)[RIP] - site.patch.stub
                inside = 0 <= offset < site.patch.body_size
                if not inside or offset - 1 in site.stub.points:
                    break
            if not inside or offset - 1 in site.stub.points:
                evaluator.disarm([address])
                for ring in evaluator.rings:
                    ring.take()
                break
            # A site on the instruction before: both are patched anew.
            other = evaluator.arm([Arm(function[0], ir.FALSE, Stop(), function)])
            moved = process.get_registers(tid)
            evaluator.disarm([address])
            after = process.get_registers(tid)
            done = site.hits == 1
            assert site.hits in (0, 1)
            assert site.candidates == (site.hits if isinstance(action, Stop) else site.candidates)
            assert after[RIP] == address, (hex(moved[RIP]), hex(after[RIP]))
            shown = list(after)
            shown[EFLAGS] &= ~0x100
            assert shown == start
            taken = [record for ring in evaluator.rings for record in ring.read()]
            assert len(taken) == (done and isinstance(action, Collect)), (
                stop_after,
                hex(offset),
                site.stub._state(offset),
                site.counters.hits,
            )
            evaluator.disarm([a for a, s in other.items() if isinstance(s, Site)])
        else:
            pytest.fail("the stub has no end")
