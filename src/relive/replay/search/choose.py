"""Which evaluator decides the hits of a landmark's address."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from relive import _core
from relive.replay.search.evaluator import Armed, drive
from relive.replay.search.inprocess import InProcess
from relive.replay.search.landmark import GENERAL, INDEX, Landmark, Verdict
from relive.replay.search.result import CannotSearch, Found
from relive.replay.search.searching import Searching
from relive.replay.search.sites import Sites
from relive.replay.search.supervisor import STOP, Supervisor
from relive.replay.statistics import Landing
from relive.trace.index import Position

if TYPE_CHECKING:
    from relive.replay.session import Session
    from relive.replay.tasks import Task

_PROBES: Final = 4
"""First hits of a new site that the supervisor looks at, to learn which registers tell hits
apart; many a landmark is among them."""
_SLOWER: Final = {"in-process": 200, "uprobe": 5_000, "kernel": 50_000, "supervisor": 100_000}
"""How many times its recorded time an interval may take at most: what a hit costs, against a loop
of a quarter of a nanosecond."""
_GUARDED: Final = "supervisor"
"""Where the program may write to the code, each hit may cost a fault and a debug exception, too."""
_NEAR: Final = 8
"""Hits that are counted from outside rather than by arming anything."""
_PATIENCE_MS: Final = 2000
_A_HIT_US: Final = 50
_FACTOR: Final = 20
_SEARCH_MS: Final = 20_000
"""How long counting may take: factor times the recorded time, and so much besides; but no longer
than a search by the same evaluator.  A hit that the kernel or the supervisor counts takes 10 to
25 µs of the task's time."""
_PERIOD: Final = 150
"""Hits that are counted by the kernel rather than by a new site: patching one costs as much."""


def find(
    session: Session,
    task: Task,
    skip: int = 0,
    passed: Callable[[int], object] | None = None,
) -> Found:
    """See `search.find`."""
    mark = Landmark(session, task, skip, passed)
    start = time.perf_counter()
    found = _find(mark, session.searching)
    seconds = time.perf_counter() - start
    session.statistics.add(Landing(mark.event, task.serial, mark.address, found, seconds))
    session.searching.landed(mark.event, task.serial, Position(mark.address, found.hits))
    return found


def _find(mark: Landmark, searching: Searching) -> Found:
    known = searching.positions.get(mark.event)
    if known is not None:
        # Taken out first: should the search fail, the next one must not begin with it.
        searching.doubt(mark.event)
    if known is not None and not mark.skip and known.address == mark.address:
        mark.counted = searching.believed = True
        found = _straight(mark, searching, known.hit)
        if found is not None:
            return found
        mark.session.statistics.passed_over("position", "the recording's index is wrong")
        with _impatient(mark):
            return _search(mark, searching)
    return _search(mark, searching)


@contextmanager
def _impatient(
    mark: Landmark, slow_hits: int = 0, evaluator: str = InProcess.name
) -> Iterator[None]:
    """While a position is believed, a task counts as lost sooner: a count that is too high would
    else keep an endless loop running.  The replay that follows a divergence doesn't believe it.

    slow_hits: that the evaluator will be told from outside the process.
    """
    core = mark.core
    factor, ms = core.patience(_FACTOR)
    most = _SEARCH_MS + _SLOWER[evaluator] * core.interval_ms()
    slow = min(slow_hits * _A_HIT_US // 1000, most)
    core.patience(min(factor, _FACTOR), min(ms, _PATIENCE_MS) + slow)
    try:
        yield
    finally:
        core.patience(factor, ms)


# -- searching


def _search(mark: Landmark, searching: Searching) -> Found:
    for name, way in _SEARCHES[searching.evaluator]:
        try:
            return way(mark, searching)
        except CannotSearch as e:
            mark.session.statistics.passed_over(name, str(e))
    return _run(mark, Supervisor(mark))


def _run(mark: Landmark, armed: Armed, as_slow_as: str = "") -> Found:
    """as_slow_as: the evaluator whose hits cost as much, if it is another."""
    core, slower = mark.session.core, _SLOWER[as_slow_as or armed.name]
    factor, ms = core.patience(slower)
    # A replay that may be made again without the index need not be patient; and who sets a factor
    # of 0 wants no more than the time besides.
    as_it_is = mark.counted or not factor
    core.patience(factor if as_it_is else max(factor, slower), ms)
    try:
        hits = drive(mark, armed)  # (which may change mark.before)
    finally:
        core.patience(factor, ms)
    return mark.found(armed.name, hits)


def _inprocess(mark: Landmark, searching: Searching) -> Found:
    sites = _sites(mark)
    near = mark.address in sites.near
    site = sites.get(mark.address)
    if site is None or near or not site.probed:
        found, order = _probe(mark)
        if found is not None:
            sites.near.add(mark.address)
            return found
        sites.near.discard(mark.address)
        site = sites.ordered(mark.address, order)
    else:
        site.switch(sites.target, on=True)
    found = _run(mark, InProcess(mark, sites, site), _GUARDED if site.guard else "")
    if found.hits <= _PROBES:
        sites.near.add(mark.address)
    return found


def _sites(mark: Landmark) -> Sites:
    space = mark.task.space
    if space.searcher is None:
        space.searcher = Sites(mark.session, space)
    return space.searcher


def _kernel(mark: Landmark, searching: Searching) -> Found:
    from relive.replay.search.kernel import Breakpoint

    return _run(mark, Breakpoint(mark, searching.programs))


def _uprobe(mark: Landmark, searching: Searching) -> Found:
    from relive.replay.search.kernel import Uprobe

    return _run(mark, Uprobe(mark, searching.uprobes))


def _probe(mark: Landmark) -> tuple[Found | None, Sequence[str]]:
    """Looks at the first hits from outside: whether the landmark is among them already, and the
    registers, those that differ from hit to hit first.  Raises Overshot, OSError."""
    core, task, name = mark.core, mark.task, Supervisor.name
    seen: list[tuple[int, ...]] = []
    armed = Supervisor(mark)
    try:
        while len(seen) < _PROBES:
            end, status, _ = core.search(task.serial, b"", False, 1)
            if end == STOP:
                raise mark.overshot(status, name, len(seen))
            now = _core.getregs(task.tid)
            seen.append(now)
            if mark.same_registers(now) and (
                mark.judge(now, mark.before + len(seen)) is Verdict.ARRIVED
            ):
                return mark.found(name, len(seen)), ()
    finally:
        armed.disarm()
    mark.before += _PROBES - 1  # the last of them has not been executed yet

    def telling(name: str) -> int:
        values = [hit[INDEX[name]] for hit in seen]
        return len(set(values)) - 2 * values.count(mark.regs[INDEX[name]])

    return None, sorted(GENERAL, key=lambda name: -telling(name))


# -- counting


def _straight(mark: Landmark, searching: Searching, number: int) -> Found | None:
    """To a position that is known; None when it is not the landmark: the task stands there, and
    the search may go on.  Raises Overshot, OSError."""
    name, other = _count(mark, searching, number)
    if other is not None:
        raise mark.overshot(other, name, 0)
    mark.before = number - 1
    if mark.judge(_core.getregs(mark.task.tid), number) is Verdict.ARRIVED:
        return mark.found(name, 1)._replace(counted=True)
    return None


def _count(mark: Landmark, searching: Searching, number: int) -> tuple[str, int | None]:
    """Brings the task to the hit of that number of the interval; who counted, and the wait status
    of another stop."""
    for name, way in _COUNTS[searching.evaluator]:
        if searching.evaluator == "auto" and number <= _NEAR:
            break
        try:
            with _impatient(mark, 0 if name == InProcess.name else number, name):
                return name, way(mark, searching, number)
        except CannotSearch as e:
            mark.session.statistics.passed_over(name, str(e))
    armed = Supervisor(mark)
    try:
        with _impatient(mark, number, armed.name):
            other = armed.count_to(number - mark.before)
        if other is not None:
            mark.before += armed.hits()
        return armed.name, other
    finally:
        armed.disarm()


def _count_inprocess(mark: Landmark, searching: Searching, number: int) -> int | None:
    sites = _sites(mark)
    site = sites.get(mark.address)
    if site is None:
        if searching.evaluator == "auto" and number <= _PERIOD:
            return _count_kernel(mark, searching, number)
        site = sites.make(mark.address, GENERAL, [], probed=False)
    else:
        site.switch(sites.target, on=True)
    armed = InProcess(mark, sites, site, number)
    try:
        with _impatient(mark, number if site.guard else 0, _GUARDED):
            return armed.count()
    finally:
        armed.disarm()


def _count_kernel(mark: Landmark, searching: Searching, number: int) -> int | None:
    from relive.replay.search.counting import by_period

    return by_period(mark, number - mark.before)


def _count_uprobe(mark: Landmark, searching: Searching, number: int) -> int | None:
    from relive.replay.search.kernel import Uprobe

    armed = Uprobe(mark, searching.uprobes)
    try:
        return armed.count_to(number - mark.before)
    finally:
        armed.disarm()


_SEARCHES: Final[dict[str, tuple[tuple[str, Callable[[Landmark, Searching], Found]], ...]]] = {
    "auto": ((InProcess.name, _inprocess), ("kernel", _kernel)),
    "inprocess": ((InProcess.name, _inprocess), ("kernel", _kernel)),
    "kernel": (("kernel", _kernel),),
    "uprobe": (("uprobe", _uprobe), ("kernel", _kernel)),
    "supervisor": (),
}
"""What is tried, by what was asked for; the supervisor serves where none of it can."""
_COUNTS: Final[
    dict[str, tuple[tuple[str, Callable[[Landmark, Searching, int], int | None]], ...]]
] = {
    "auto": ((InProcess.name, _count_inprocess), ("kernel", _count_kernel)),
    "inprocess": ((InProcess.name, _count_inprocess), ("kernel", _count_kernel)),
    "kernel": (("kernel", _count_kernel),),
    "uprobe": (("uprobe", _count_uprobe), ("kernel", _count_kernel)),
    "supervisor": (),
}
