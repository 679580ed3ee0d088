"""Which evaluator decides the hits of a landmark's address."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from relive import _core
from relive.replay.search.evaluator import Armed, drive
from relive.replay.search.inprocess import InProcess
from relive.replay.search.landmark import GENERAL, INDEX, Landmark, Verdict
from relive.replay.search.result import CannotSearch, Found
from relive.replay.search.sites import Sites
from relive.replay.search.supervisor import STOP, Supervisor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relive.replay.session import Session
    from relive.replay.tasks import Task

_PROBES: Final = 4
"""First hits of a new site that the supervisor looks at, to learn which registers tell hits
apart; many a landmark is among them."""


def find(session: Session, task: Task, skip: int = 0) -> Found:
    """Brings the task to the landmark of the event at hand.

    skip: so many candidates that are equal in all are passed over: they were arrived at before,
    and what came later showed that they were not it.
    Raises Overshot, OSError.
    """
    mark = Landmark(session, task, skip)
    start = time.perf_counter()
    found = _search(mark)
    session.statistics.add(mark.event, found, time.perf_counter() - start)
    return found


def _search(mark: Landmark) -> Found:
    evaluator = mark.session.evaluator
    if evaluator in ("auto", "inprocess"):
        try:
            return _inprocess(mark)
        except CannotSearch as e:
            mark.session.statistics.passed_over("in-process", str(e))
    return _run(mark, Supervisor(mark))


def _run(mark: Landmark, armed: Armed) -> Found:
    return mark.found(armed.name, drive(mark, armed))


def _inprocess(mark: Landmark) -> Found:
    space = mark.task.space
    if space.searcher is None:
        space.searcher = Sites(mark.session, space)
    sites = space.searcher
    site = sites.get(mark.address)
    if site is not None:
        site.switch(sites.target, on=True)
        return _run(mark, InProcess(mark, sites, site))
    found, order = _probe(mark)
    if found is not None:
        return found
    return _run(mark, InProcess(mark, sites, sites.make(mark.address, order, [])))


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
