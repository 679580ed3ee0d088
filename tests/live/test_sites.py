"""Sites of all evaluators: exact counts, unchanged programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relive import live
from relive.conditions.ir import Outcome
from relive.live import supervised
from relive.live.request import Access, Request
from relive.symbols import cache
from tests.live.targets import EVALUATORS, HITS, LONG, NEVER, natively, past, run_under

WAYS: dict[str, dict[str, Any]] = {
    "any": {},
    "copy": {"emulate": False},
    "step": {"emulate": False, "out_of_line": False},
}
Programs = Callable[..., Path]


def starts(program: Path, function: str, end: str) -> list[int]:
    """Offsets of the instructions of a function, up to another symbol or to its own end."""
    from iced_x86 import Decoder

    image = cache.load(program)
    first = image.symbols[function][0].value
    size = image.symbols[end][0].value - first or image.symbols[function][0].size
    code = image.read(first, size)
    return [instruction.ip - first for instruction in Decoder(64, code, ip=first)]


@pytest.mark.parametrize("way", WAYS)
def test_every_kind_of_instruction(program: Programs, tmp_path: Path, way: str) -> None:
    """Sites on all of them at once: the same result, each executed as often as it is."""
    command = (program("instructions"), "20")
    offsets = starts(command[0], "work", "work_end")
    requests = [Request(f"work+{at}", NEVER, live.stop(), "supervisor") for at in offsets]
    with past(**WAYS[way]):
        ran = run_under(tmp_path, command, requests)
    assert (ran.status, ran.output) == (0, natively(command))
    seen = [count.hits for count in ran.counts]
    assert len(seen) == 108
    assert sorted(set(seen)) == [0, 1, 20, 80]
    assert (seen.count(0), seen.count(1), seen.count(80)) == (4, 13, 4)
    assert all(count.rejected == count.hits for count in ran.counts)


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_one_instruction_after_another(
    program: Programs, tmp_path: Path, evaluator: live.EvaluatorName
) -> None:
    """A site on each by itself, with those evaluators that can have it."""
    command = (program("instructions"), "2")
    expected = natively(command)
    tried = armed = 0
    offsets = starts(command[0], "work", "work_end")
    if evaluator in ("kernel", "uprobe"):
        offsets = offsets[::9]  # these take their time to arm
    elif not LONG:
        offsets = offsets[::4]
    for at in offsets:
        tried += 1
        try:
            ran = run_under(
                tmp_path, command, [Request(f"work+{at}", NEVER, live.count(), evaluator)]
            )
        except live.CannotArm:
            continue
        armed += 1
        assert (ran.status, ran.output) == (0, expected), f"work+{at:#x}"
        assert ran.counts[0].hits in (0, 1, 2, 8)
    assert armed == tried or evaluator in ("inprocess", "uprobe")
    assert armed or evaluator == "uprobe"


@pytest.mark.limit(600)
@pytest.mark.parametrize("evaluator", [*EVALUATORS, "auto"])
def test_all_count_the_same(program: Programs, tmp_path: Path, evaluator: Any) -> None:
    """So many hits in four threads; RELIVE_LONG=1: a million."""
    each = HITS // 4
    command = (program("threads"), "4", str(each))
    request = Request("probed", "rdi == 77", live.count(), evaluator)
    try:
        ran = run_under(tmp_path, command, [request])
    except live.CannotArm as error:
        if evaluator in ("kernel", "uprobe"):
            pytest.skip(str(error))
        raise
    assert (ran.status, ran.output) == (0, natively(command))
    assert ran.counts == [live.Counts(4 * each, 0, 4 * each, 0, 0)]


@pytest.mark.limit(600 if LONG else 60)
@pytest.mark.parametrize("way", WAYS)
def test_threads_over_each_others_breakpoints(program: Programs, tmp_path: Path, way: str) -> None:
    """Threads run over a breakpoint while others are being taken past it."""
    each = 1000 if way == "step" else HITS // 8
    command = (program("threads"), "4", str(each))
    places = ("site", "outer", "outer+4")
    requests = [Request(place, NEVER, live.stop(), "supervisor") for place in places]
    with past(**WAYS[way]):
        ran = run_under(tmp_path, command, requests)
    assert (ran.status, ran.output) == (0, natively(command))
    assert [count.hits for count in ran.counts] == [4 * each] * 3


@pytest.mark.limit(600 if LONG else 60)
@pytest.mark.parametrize("way", WAYS)
def test_signals_in_between(program: Programs, tmp_path: Path, way: str) -> None:
    """Signals that arrive at a breakpoint are delivered, and no hit is counted twice."""
    number = 5000 if way == "step" else HITS // 2
    command = (program("signals"), str(number))
    places = ("site", "site+3", "handled")
    requests = [Request(place, NEVER, live.stop(), "supervisor") for place in places]
    with past(**WAYS[way]):
        ran = run_under(tmp_path, command, requests)
    handled, total = ran.output.split()
    assert ran.status == 0
    assert total == natively(command).split()[1]
    assert [count.hits for count in ran.counts] == [number, number, int(handled)]
    assert int(handled) > 10


def test_candidates_and_undecided(program: Programs, tmp_path: Path) -> None:
    """Every other pointer is null: those hits are told, not rejected in silence."""
    command = (program("watched"), "10")
    for evaluator in ("supervisor", "inprocess", "kernel"):
        request = Request("site", "u64[rdi] > 6", live.stop(), evaluator)
        try:
            ran = run_under(tmp_path, command, [request])
        except live.CannotArm as error:
            assert evaluator == "kernel", error
            continue
        hits = [event for event in ran.events if isinstance(event, live.Hit)]
        told = [(hit.hit, hit.outcome, hit.fault != "") for hit in hits]
        undecided = [(n, Outcome.UNDECIDED, True) for n in (1, 3, 5, 7, 9)]
        matched = [(n, Outcome.MATCH, False) for n in (8, 10)]
        assert told == sorted(undecided + matched), evaluator
        assert ran.counts == [live.Counts(10, 2, 3, 5, 0)], evaluator
        assert (ran.status, ran.output) == (0, natively(command))


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_stop_at_and_registers(
    program: Programs, tmp_path: Path, evaluator: live.EvaluatorName
) -> None:
    """The state of a candidate is that at the site, before its instruction."""
    command = (program("threads"), "1", "100")
    request = Request("probed", "rsi % 10 == 3", live.stop(4), evaluator)
    try:
        ran = run_under(tmp_path, command, [request])
    except live.CannotArm as error:
        pytest.skip(str(error))
    hits = [event for event in ran.events if isinstance(event, live.Hit)]
    assert [(hit.hit, hit.candidate) for hit in hits] == [(10 * n + 4, n + 1) for n in range(3, 10)]
    assert [hit.registers[13] for hit in hits] == [10 * n + 3 for n in range(3, 10)]
    assert all(hit.registers[16] == hit.armed.address for hit in hits)
    assert ran.counts == [live.Counts(100, 10, 90, 0, 0)]
    assert (ran.status, ran.output) == (0, natively(command))


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_collect(program: Programs, tmp_path: Path, evaluator: live.EvaluatorName) -> None:
    """Every record of every thread, none twice."""
    each = HITS // 20
    command = (program("threads"), "4", str(each))
    request = Request("probed", "rsi % 4 == 1", live.collect("rdi", "rsi", "hits"), evaluator)
    try:
        ran = run_under(tmp_path, command, [request])
    except live.CannotArm as error:
        pytest.skip(str(error))
    assert (ran.status, ran.output) == (0, natively(command))
    found = sorted((record.values[0], record.values[1]) for record in ran.records)
    assert found == [(t, n) for t in range(4) for n in range(1, each, 4)]
    assert all(record.values[2] == record.hit for record in ran.records)
    assert len({record.hit for record in ran.records}) == len(ran.records)
    by_thread = {record.values[0]: set[int]() for record in ran.records}
    for record in ran.records:
        by_thread[record.values[0]].add(record.tid)
    assert all(len(tids) == 1 for tids in by_thread.values())
    assert ran.counts[0].lost == 0


@pytest.mark.parametrize("evaluator", ["supervisor", "kernel"])
def test_watchpoints(program: Programs, tmp_path: Path, evaluator: Any) -> None:
    command = (program("watched"), "50")
    written = Request("counter", "u64[counter] % 10 == 7", live.stop(), evaluator, Access.WRITE)
    touched = Request("counter", "", live.count(), evaluator, Access.ACCESS)
    try:
        ran = run_under(tmp_path, command, [written, touched])
    except live.CannotArm as error:
        assert evaluator == "kernel", error
        pytest.skip(str(error))
    assert [event.hit for event in ran.events if isinstance(event, live.Hit)] == [8, 18, 28, 38, 48]
    assert ran.counts[0] == live.Counts(50, 5, 45, 0, 0)
    assert ran.counts[1].hits >= 100
    assert (ran.status, ran.output) == (0, natively(command))


def test_debug_registers_for_code(program: Programs, tmp_path: Path) -> None:
    command = (program("threads"), "4", "500")
    requests = [Request(place, NEVER, live.stop(), "supervisor") for place in ("site", "outer")]
    with past(kind=supervised.HARDWARE):
        ran = run_under(tmp_path, command, requests)
    assert [count.hits for count in ran.counts] == [2000, 2000]
    assert (ran.status, ran.output) == (0, natively(command))


def test_watchpoint_and_breakpoints_together(program: Programs, tmp_path: Path) -> None:
    """A breakpoint on the very instruction that writes: both are told."""
    command = (program("watched"), "20")
    offsets = starts(command[0], "main", "main")
    watch = Request("counter", "", live.count(), "supervisor", Access.WRITE)
    code = [Request(f"main+{at}", NEVER, live.stop(), "supervisor") for at in offsets]
    for way in WAYS.values():
        with past(**way):
            ran = run_under(tmp_path, command, [watch, *code])
        assert ran.counts[0].hits == 20
        assert [count.hits for count in ran.counts[1:]].count(20) > 5
        assert (ran.status, ran.output) == (0, natively(command))


def test_several_sites_at_one_address(program: Programs, tmp_path: Path) -> None:
    command = (program("threads"), "2", "100")
    conditions = ("rsi == 3", "rdi == 1 and rsi == 3", "", "rsi == 50")
    requests = [Request("site", when, live.stop(), "supervisor") for when in conditions[:2]]
    requests += [Request("site", when, live.count(), "supervisor") for when in conditions[2:]]
    ran = run_under(tmp_path, command, requests)
    assert [count.candidates for count in ran.counts] == [2, 1, 200, 2]
    assert [count.hits for count in ran.counts] == [200] * 4
    assert sum(isinstance(event, live.Hit) for event in ran.events) == 3
    assert (ran.status, ran.output) == (0, natively(command))
