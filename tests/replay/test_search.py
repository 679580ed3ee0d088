"""Every evaluator finds every landmark at the same execution of its address, by searching and by
counting."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from relive.errors import DivergenceError, Unsupported
from relive.replay import search
from relive.replay.retry import Plan
from relive.replay.search import inprocess
from relive.replay.search.choose import _impatient
from relive.replay.search.inprocess import InProcess
from relive.replay.search.landmark import Landmark
from relive.replay.search.sites import Site, Sites
from relive.replay.session import Session
from relive.replay.statistics import Statistics
from relive.replay.tasks import Task
from relive.trace import index
from relive.trace.index import Position
from relive.trace.reader import Recording
from relive.tracee.cputime import cpu_ns
from relive.tracee.patching.patcher import Happened, Patcher, Trap
from tests.conditions.kernel_facilities import need_bpf, need_breakpoints, need_uprobes
from tests.replay.conftest import PROGRAMS, record
from tests.workloads import harness

Compiled = Callable[[str], Path]

LOOPS = (
    *("registers", "memory", "vector", "calls", "strings", "made", "remade"),
    *("handlers", "trampolines", "leaving"),
)
LANDINGS = 4
#: How many of the last landings are doubted here: how many there are at all is a matter of timing.
SUSPECTS = 2
IN_A_LOOP = 50
"""Hits that only an address in a loop gets."""


@pytest.fixture(scope="module")
def recordings(compiled: Compiled, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """A recording of a loop of short_intervals, by name: each test gets its own copy."""
    made: dict[str, Path] = {}
    directory = tmp_path_factory.mktemp("recordings")
    copies = 0

    def one(name: str) -> Path:
        nonlocal copies
        if name not in made:
            path = directory / name
            # some of the signals come at system calls, and are no landings
            command: list[Path | str] = [compiled("short_intervals"), name, str(5 * LANDINGS)]
            recorded = record(command, path, options=["--verify-memory=events"])
            assert recorded.returncode == 0, recorded.stderr
            made[name] = path
        copies += 1
        copy = directory / f"{name}-{copies}"
        shutil.copytree(made[name], copy)
        return copy

    return one


def replayed(recording: Path, evaluator: str, plan: Plan | None = None) -> Statistics:
    with Recording(recording) as opened:
        session = Session(opened, echo=False, evaluator=evaluator, plan=plan)
        session.run()
    return session.statistics


def positions(statistics: Statistics) -> dict[int, Position]:
    return {n.event: Position(n.address, n.found.hits) for n in statistics.landings}


def need(evaluator: str) -> None:
    if evaluator in ("kernel", "uprobe"):
        need_breakpoints()
        need_bpf()
    if evaluator == "uprobe":
        need_uprobes()


@pytest.mark.limit(150)
@pytest.mark.parametrize("evaluator", ["auto", "inprocess", "kernel", "uprobe"])
@pytest.mark.parametrize("loop", LOOPS)
def test_same_positions(loop: str, evaluator: str, recordings: Compiled) -> None:
    need(evaluator)
    recording = recordings(loop)
    slow = replayed(recording, "supervisor")
    assert len(slow.landings) >= LANDINGS
    assert set(slow.evaluators) == {"supervisor"} and not slow.counted
    (recording / "index").unlink()
    searched = replayed(recording, evaluator)
    assert positions(searched) == positions(slow)
    assert not searched.counted
    counted = replayed(recording, evaluator)
    assert positions(counted) == positions(slow)
    assert counted.counted == counted.candidates == len(counted.landings)
    for statistics in (searched, counted):
        by = statistics.evaluators
        if evaluator == "kernel":
            assert set(by) == {"kernel"}
        if evaluator == "uprobe":  # what it could not serve went to the other, and that is told
            told = sum(n for why, n in statistics.reasons.items() if why.startswith("uprobe: "))
            assert by.get("kernel", 0) == told
            assert set(by) <= {"kernel", "uprobe"}
    if evaluator == "inprocess" and not counted.reasons:
        assert set(counted.evaluators) == {"in-process"}


def test_code_that_is_jumped_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: Compiled
) -> None:
    """A site is made anew, or another evaluator goes on, when the bytes that its jump displaced are
    jumped into all the time: each time is a stop."""
    program, recording = tmp_path / "program", tmp_path / "recording"
    source = PROGRAMS / "short_intervals.c"
    assert compiled("short_intervals").exists()  # or it is skipped
    # in the lowest 2 GiB, where fewer forms of patches fit
    command = ["gcc", "-O1", "-no-pie", "-o", str(program), str(source)]
    subprocess.run(command, check=True, timeout=60)
    recorded = record([program, "computed", str(20 * LANDINGS)], recording)
    assert recorded.returncode == 0, recorded.stderr
    slow = positions(replayed(recording, "supervisor"))

    avoided: set[tuple[int, int]] = set()  # site, and what it does not displace any more
    strays: list[tuple[int, int]] = []
    resolve, avoiding = Patcher.resolve, Sites.avoiding

    def resolving(self: Patcher, tid: int, signo: int) -> Trap | None:
        trap = resolve(self, tid, signo)
        if trap is not None and trap.what is Happened.STRAY:
            strays.append((trap.patch.address, trap.patch.address + trap.offset))
            assert strays[-1] not in avoided
        return trap

    def noting(self: Sites, address: int) -> Site:
        learned = self._sites[address].patcher.learned
        avoided.update((address, entered) for entered in learned)
        return avoiding(self, address)

    monkeypatch.setattr(Patcher, "resolve", resolving)
    monkeypatch.setattr(Sites, "avoiding", noting)
    monkeypatch.setattr(inprocess, "STRAYS", 3)
    for index_is_there in (False, True):
        if not index_is_there:
            (recording / "index").unlink()
        avoided.clear()
        strays.clear()
        again = replayed(recording, "inprocess")
        assert positions(again) == slow
        assert again.counted == len(slow) * index_is_there
        assert avoided & set(strays)


@pytest.mark.limit(150)
def test_counting_from_outside(recordings: Compiled) -> None:
    recording = recordings("memory")
    searched = replayed(recording, "auto")
    counted = replayed(recording, "supervisor")
    assert positions(counted) == positions(searched)
    assert counted.counted == len(counted.landings)
    assert set(counted.evaluators) == {"supervisor"}


@pytest.mark.limit(100)
@pytest.mark.parametrize("wrong", [-1, 1, 1 << 40])
@pytest.mark.parametrize("evaluator", ["auto", "inprocess", "supervisor"])
@pytest.mark.parametrize("loop", ["handlers", "faulting"])
def test_wrong_index(loop: str, wrong: int, evaluator: str, recordings: Compiled) -> None:
    """It costs time, and nothing else."""
    recording = recordings(loop)
    right = positions(replayed(recording, "auto"))
    with Recording(recording) as opened:
        bad = {e: Position(p.address, max(p.hit + wrong, 1)) for e, p in right.items()}
        assert index.write(opened, bad)
    command = [*harness.RELIVE, "replay", "-a", "--evaluator", evaluator]
    again = subprocess.run(
        [*command, "--stats-json", recording / "stats", recording],
        capture_output=True,
        timeout=90,
    )
    assert again.returncode == 0, again.stderr
    found = json.loads((recording / "stats").read_text())["asynchronous"]["landings"]
    assert {one["event"]: one["hits"] for one in found} == {e: p.hit for e, p in right.items()}
    with Recording(recording) as opened:  # and it is put right
        assert index.read(opened) == right


@pytest.mark.limit(100)
@pytest.mark.parametrize("evaluator", ["auto", "kernel", "supervisor"])
@pytest.mark.parametrize("loop", ["registers", "calls", "made", "tight"])
def test_a_position_that_is_never_reached(loop: str, evaluator: str, recordings: Compiled) -> None:
    """In a loop without an end the task is soon taken for lost, wherever it is then: in a stub,
    for the most part."""
    need(evaluator)
    recording = recordings(loop)
    right = positions(replayed(recording, "auto"))
    # Where hits are told from outside (or may be), so many more take no longer than they are given.
    wrong = 10**9 if evaluator == "auto" and loop != "made" else 10_000
    # the others are in a handler, and soon at a system call
    looping = [e for e, p in right.items() if p.hit > IN_A_LOOP]
    first = min(looping)
    with Recording(recording) as opened:
        bad = {e: right[e]._replace(hit=right[e].hit + wrong) for e in looping}
        assert index.write(opened, {**right, **bad})
        for _ in range(3):
            doubted = Session(opened, echo=False, evaluator=evaluator)
            assert doubted.core.patience(1, 300) == (20, 20000)  # less than counting's own
            with pytest.raises(DivergenceError, match="no end of an interval after"):
                doubted.run()
            assert doubted.core.patience(20) == (1, 300)
            assert doubted.searching.believed
            assert doubted.searching.doubted == first
            kept = index.read(opened)
            assert index.write(
                opened, {**kept, first: right[first]._replace(hit=right[first].hit + wrong)}
            )
        # only the one gone to was forgotten
        assert kept.keys() & right.keys() == right.keys() - {first}


@pytest.mark.parametrize("loop", ["registers", "calls"])
def test_a_count_too_high_costs_seconds(loop: str, recordings: Compiled) -> None:
    """Fewer than a task that is lost is given by itself."""
    recording = recordings(loop)
    right = positions(replayed(recording, "auto"))
    with Recording(recording) as opened:
        assert index.write(opened, {e: p._replace(hit=p.hit + 10**12) for e, p in right.items()})
    start = os.times().children_user
    command = [*harness.RELIVE, "replay", "-a", str(recording)]
    again = subprocess.run(command, capture_output=True, timeout=50)
    assert again.returncode == 0, again.stderr
    first = min(right)
    assert f"event {first} is not at the position".encode() in again.stderr
    assert b"replaying again without the positions" in again.stderr  # the next one, too
    assert os.times().children_user - start < 12  # processor time: the bound is one of it
    with Recording(recording) as opened:
        assert index.read(opened) == right


def test_one_wrong_position(recordings: Compiled) -> None:
    """The others are gone to as before."""
    recording = recordings("handlers")
    right = positions(replayed(recording, "auto"))
    wrong = sorted(right)[len(right) // 2]
    with Recording(recording) as opened:
        assert index.write(opened, {**right, wrong: right[wrong]._replace(hit=1 << 40)})
    command = [*harness.RELIVE, "replay", "-a", "--stats-json", str(recording / "stats")]
    again = subprocess.run([*command, str(recording)], capture_output=True, timeout=50)
    assert again.returncode == 0, again.stderr
    assert f"event {wrong} is not at the position".encode() in again.stderr
    assert b"without the positions" not in again.stderr
    found = json.loads((recording / "stats").read_text())["asynchronous"]["landings"]
    assert [one["event"] for one in found if not one["counted"]] == [wrong]
    with Recording(recording) as opened:
        assert index.read(opened) == right


@pytest.mark.parametrize("evaluator", ["kernel", "uprobe", "supervisor"])
def test_hits_that_are_counted_from_outside_are_given_their_time(
    evaluator: str, recordings: Compiled
) -> None:
    """However many: but no longer than a search."""
    given: list[tuple[int, int, int]] = []

    class Looking(Plan):
        def find(self, session: Session, number: int, task: Task) -> None:
            for hits in (0, 10**5, 10**6, 10**12):
                with _impatient(Landmark(session, task), hits, evaluator):
                    factor, ms = session.core.patience(20)
                given.append((hits, factor, ms))
            search.find(session, task)

    replayed(recordings("calls"), "auto", Looking())
    for hits, factor, ms in given[:4]:
        assert factor == 20
        if hits < 10**12:
            assert ms == 2000 + hits * 50 // 1000
        else:
            assert 60_000 < ms < 100_000_000


@pytest.mark.parametrize("loop", ["registers", "calls", "made"])
def test_lost_in_a_search(loop: str, recordings: Compiled) -> None:
    """The stop comes wherever the task is, mostly in a stub: it is no trap of the stub's."""
    recording = recordings(loop)
    right = positions(replayed(recording, "auto"))
    (recording / "index").unlink()
    first = min(e for e, p in right.items() if p.hit > 1)  # not in a handler

    class Passing(Plan):
        def find(self, session: Session, number: int, task: Task) -> None:
            if number == first:
                session.core.patience(0, 200)
            search.find(session, task, 1 if number == first else 0)

    with pytest.raises(DivergenceError, match=r"no end of an interval after 0\.2 s"):
        replayed(recording, "auto", Passing())


def test_each_search_has_its_own_time(recordings: Compiled) -> None:
    """What an interval took when it was gone through before counts for nothing."""
    recording = recordings("registers")
    used: list[int] = []

    class Twice(Plan):
        def find(self, session: Session, number: int, task: Task) -> None:
            search.find(session, task)
            for ms in (3000, 1500):  # it is in a loop that only a signal ends
                session.core.patience(0, ms)
                before = cpu_ns(task.tid)
                session.core.advance(task.serial)
                assert session.core.lost()
                used.append(cpu_ns(task.tid) - before)
            raise DivergenceError(number, "one thing", "another")

    with pytest.raises(DivergenceError, match="one thing"):
        replayed(recording, "auto", Twice())
    assert used[0] > 3_000_000_000
    assert used[1] > 1_500_000_000


def test_counting_in_code_that_is_rewritten_has_time(recordings: Compiled) -> None:
    """Each hit may cost as much as one that the supervisor counts."""
    given: list[int] = []
    count = InProcess.count

    def looking(self: InProcess) -> int | None:
        mark, number = self._mark, self._until
        factor, ms = mark.core.patience(20)
        mark.core.patience(factor, ms)
        if self.site.guard is not None:
            given.append(ms - 2000 - number * 50 // 1000)
        return count(self)

    recording = recordings("made")
    right = positions(replayed(recording, "inprocess"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InProcess, "count", looking)
        assert positions(replayed(recording, "inprocess")) == right
    assert given and set(given) == {0}


@pytest.mark.parametrize("content", [b"", b"RLX1", b"nonsense" * 100])
def test_damaged_index(content: bytes, recordings: Compiled) -> None:
    recording = recordings("calls")
    right = positions(replayed(recording, "auto"))
    (recording / "index").write_bytes(content)
    statistics = replayed(recording, "auto")
    assert positions(statistics) == right
    assert not statistics.counted
    with Recording(recording) as opened:
        assert index.read(opened) == right


def test_index_that_cannot_be_written(recordings: Compiled) -> None:
    recording = recordings("calls")
    (recording / "index").mkdir()
    first, second = replayed(recording, "auto"), replayed(recording, "auto")
    assert positions(first) == positions(second)
    assert not second.counted
    assert sorted(p.name for p in recording.iterdir()) == ["events", "files", "index", "version"]


def test_index_of_a_replay_that_ends_early(
    recordings: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found until then is kept, but for the last few, any of which may be to blame; what
    was known of the rest stays."""
    monkeypatch.setattr("relive.replay.search.searching.SUSPECTS", SUSPECTS)
    recording = recordings("calls")
    right = positions(replayed(recording, "auto"))
    events = sorted(right)
    assert len(events) > SUSPECTS + 2
    last = events[SUSPECTS + 1]

    class Diverging(Plan):
        def find(self, session: Session, number: int, task: Task) -> None:
            search.find(session, task)
            if number == last:
                raise DivergenceError(number, "one thing", "another")

    for known in ({}, right):
        with Recording(recording) as opened:
            assert index.write(opened, known)
        with pytest.raises(DivergenceError):
            replayed(recording, "auto", Diverging())
        with Recording(recording) as opened:
            kept = index.read(opened)
        rest = events[SUSPECTS + 2 :] if known else []
        assert kept == {e: right[e] for e in [*events[:2], *rest]}


def test_index_of_a_replay_that_is_interrupted(
    recordings: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relive.replay.search.searching.SUSPECTS", SUSPECTS)
    recording = recordings("calls")
    right = positions(replayed(recording, "auto"))
    (recording / "index").unlink()

    class Interrupted(Plan):
        def find(self, session: Session, number: int, task: Task) -> None:
            search.find(session, task)
            if number == max(right):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replayed(recording, "auto", Interrupted())
    with Recording(recording) as opened:
        assert index.read(opened) == {e: right[e] for e in sorted(right)[:-SUSPECTS]}


def test_the_index_belongs_to_one_log(recordings: Compiled) -> None:
    one, other = recordings("calls"), recordings("memory")
    replayed(one, "auto")
    shutil.copy(one / "index", other / "index")
    with Recording(other) as opened:
        assert index.read(opened) == {}


def test_candidates_passed_over(recordings: Compiled) -> None:
    """No other place fits: the task is lost in its loop, and that is told."""
    recording = recordings("registers")
    right = positions(replayed(recording, "auto"))
    first = min(right)
    seen: list[search.Overshot] = []

    class Passing(Plan):
        def find(self, session: Session, number: int, task: Task) -> None:
            session.core.patience(1, 500)
            try:
                search.find(session, task, 1 if number == first else 0)
            except search.Overshot as e:
                seen.append(e)
                raise

    with pytest.raises(DivergenceError, match="the recorded state"):
        replayed(recording, "auto", Passing())
    assert seen[0].found.hits >= right[first].hit
    assert seen[0].found.candidates >= 1
    assert not seen[0].counted


@pytest.mark.parametrize("evaluator", ["auto", "supervisor"])
def test_the_closest_candidate_is_told(
    evaluator: str, recordings: Compiled, compiled: Compiled
) -> None:
    recording = recordings("registers")
    symbols = subprocess.run(
        ["nm", compiled("short_intervals")], capture_output=True, check=True, text=True
    )
    (offset,) = (
        int(line.split()[0], 16)
        for line in symbols.stdout.splitlines()
        if line.endswith(" landing_hash")
    )
    address = 0

    class Spoiling(Plan):
        """Changes a word of memory that is sampled, and that nobody looks at before the landing."""

        def find(self, session: Session, number: int, task: Task) -> None:
            nonlocal address
            maps = Path(f"/proc/{task.tid}/maps").read_text().splitlines()
            base = next(int(row.split("-")[0], 16) for row in maps if row.split()[2] == "00000000")
            address = base + offset
            if session.core.sample_word(address) is not None:
                session.write(task, address, bytes(8))
                session.core.patience(0, 1000)  # some 30 000 hits, whoever decides them
            search.find(session, task)

    with pytest.raises(DivergenceError) as error:
        replayed(recording, evaluator, Spoiling())
    assert f"u64[{address:#x}] = 0x0 instead of 0x" in str(error.value)


def test_machine_without(monkeypatch: pytest.MonkeyPatch, recordings: Compiled) -> None:
    from relive.conditions.kernel import machine

    monkeypatch.setattr(machine, "missing", lambda loader=None: "no such thing")
    with pytest.raises(Unsupported, match=r"'kernel' can't be used: no such thing"):
        replayed(recordings("calls"), "kernel")


def test_statistics(recordings: Compiled) -> None:
    recording = recordings("calls")
    command = [*harness.RELIVE, "replay", "-a", "--stats=all", str(recording)]
    told = subprocess.run(command, capture_output=True, timeout=50, text=True)
    assert told.returncode == 0, told.stderr
    with Recording(recording) as opened:
        known = index.read(opened)
    rows = [line.split()[1:] for line in told.stderr.splitlines()]
    for event, position in known.items():
        (row,) = (row for row in rows if row[:1] == [str(event)] and len(row) >= 8)
        assert row[2] == hex(position.address)
        assert int(row[3]) + int(row[4]) == position.hit
