"""Replaying again after a divergence: another place that fits a landmark, or another evaluator.

A landmark pins an asynchronous event by registers, extended state and a sample of memory. Two
places of an interval may be equal in all of that and differ in memory that was not sampled. The
search takes the first; when that was the wrong one, what comes later differs from the recording,
and the replay, which verifies every event, ends in a divergence. Then it is done again:

1. The last landmarks before the divergence are *examined*: from a checkpoint of its interval
   (replay/rewind.py) each is passed over until the interval ends, which tells all places that fit.
   Where none fits, the supervisor decides every hit once more: it is the slow twin of the others.
2. Where several fit, they are tried one after the other, the latest landmark's first. Which one is
   likely, processor time tells (a hint: it reproduces within a few percent): the task runs from
   the checkpoint, at full speed, for as long as recorded; the next place that fits is known by
   its memory among those of the examination, and is tried first, then those about it.

Every try is a replay from the beginning, and is verified like any other; the output that was
printed already is left out. When nothing is left to try, the first divergence is what is told.
"""

from __future__ import annotations

import struct
import sys
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from relive import _core
from relive.errors import DivergenceError
from relive.replay.rewind import CannotRewind, Checkpoint
from relive.replay.search.searching import SUSPECTS
from relive.trace.events import decode_out
from relive.trace.index import Position
from relive.tracee.cputime import cpu_ns
from relive.tracee.maps import PROT_WRITE, read_maps

if TYPE_CHECKING:
    from relive.replay.search import Overshot
    from relive.replay.session import Session
    from relive.replay.tasks import Task

#: Places of one interval that are looked at, and how long.
PLACES: Final = 1024
PLACES_SECONDS: Final = 20.0
#: Replays that get no further than those before.
TRIES: Final = 1000
#: They may take this many times what there was before, or so many seconds.
TIMES: Final = 50
SECONDS: Final = 120.0
_RIP: Final = 16
_RSP: Final = 19
_RED_ZONE: Final = 128
#: Address of the processor time in a sample (core/landmark.h).
_CPU: Final = 1


class Place(NamedTuple):
    """One that fits.  hit: which execution of the landmark's address in the interval; digest: of
    the memory there."""

    hit: int
    digest: int


class Choice:
    """The places of an interval that fit its landmark, in the order in which they are tried.

    places: all of them; order: indices of these.
    """

    def __init__(self, places: list[Place], order: tuple[int, ...]) -> None:
        self.places = places
        self.order = order
        self.at = 0

    @property
    def hit(self) -> int:
        """The one to be tried: which execution of the landmark's address."""
        return self.places[self.order[self.at]].hit

    def another(self) -> bool:
        """Takes the next one; False when there is none."""
        self.at += 1
        return self.at < len(self.order)


class Plan:
    """What a replay is to do at landmarks, by event: the places chosen, and what to examine."""

    def __init__(self) -> None:
        self.choices: dict[int, Choice] = {}
        self.examine: set[int] = set()
        self.times: dict[int, tuple[int, int]] = {}  # by task: recorded, replayed, at its last one

    def find(self, session: Session, number: int, task: Task) -> None:
        """Brings the task to the landmark of the event at hand.  Raises Overshot, OSError."""
        from relive.replay.search import find

        if number in self.examine:
            self.examine.discard(number)
            self._examined(session, number, task)
        else:
            choice = self.choices.get(number)
            if choice is not None:
                _known(session, number, task, choice)
            find(session, task)
        self.times[task.serial] = (_recorded_cpu(session), cpu_ns(task.tid))

    def _examined(self, session: Session, number: int, task: Task) -> None:
        from relive.replay.search import Overshot, find

        try:
            checkpoint = Checkpoint(session, task)
        except CannotRewind:
            find(session, task)
            return
        with checkpoint as start:
            began = cpu_ns(task.tid)
            places, missed = _places(session, task)
            session.searching.positions.pop(number, None)
            start.restore()
            if places:
                most_likely = 0
                if len(places) > 1:
                    recorded, replayed = self.times.get(task.serial, (0, 0))
                    wanted = _recorded_cpu(session) - recorded - (began - replayed)
                    most_likely = _place_after(session, task, wanted, places)
                    start.restore()
                order = sorted(range(len(places)), key=lambda k: abs(k - most_likely))
                choice = self.choices[number] = Choice(places, tuple(order))
                _known(session, number, task, choice)
                find(session, task)
                return
            if not isinstance(missed, Overshot):
                raise AssertionError("an interval without an end and without a place that fits")
            evaluator, session.searching.evaluator = session.searching.evaluator, "supervisor"
            try:
                find(session, task)
            except Overshot:
                raise missed from None  # it tells more: the refined candidate that was closest
            finally:
                session.searching.evaluator = evaluator


def _known(session: Session, number: int, task: Task, choice: Choice) -> None:
    """Has the search go straight to the place chosen."""
    address = session.core.logged_regs(task.serial)[_RIP]
    session.searching.positions[number] = Position(address, choice.hit)


def _places(session: Session, task: Task) -> tuple[list[Place], Overshot | None]:
    """The places from here on that fit the landmark. And what ended the interval: None when there
    are too many, or they take too long."""
    from relive.replay.search import Overshot, find

    places: list[Place] = []
    until = time.monotonic() + PLACES_SECONDS

    def note(hit: int) -> None:
        places.append(Place(hit, _memory(session, task)))
        if time.monotonic() > until:
            raise _Enough

    session.core.patience(200, 5000)
    try:
        find(session, task, PLACES, note)
    except Overshot as e:
        return places, e
    except _Enough:
        pass
    finally:
        session.core.patience(20)
    return places, None


class _Enough(Exception):
    """No more places are looked at."""


def _place_after(session: Session, task: Task, ns: int, places: list[Place]) -> int:
    """Which of the places comes first after so much processor time, nothing slowing the task down;
    the last one if the interval ends before."""
    from relive.replay.search import Overshot, find

    if ns > 0 and session.core.run_for(task.serial, ns) is not None:
        return len(places) - 1
    try:
        find(session, task)
    except Overshot:
        return len(places) - 1
    now = _memory(session, task)
    return next((k for k, p in enumerate(places) if p.digest == now), len(places) - 1)


def _memory(session: Session, task: Task) -> int:
    """A digest of the private memory that the program may write, but for what is dead on the
    task's stack."""
    searcher = task.space.searcher
    stubs = searcher.data_pages() if searcher is not None else []
    fd = session.core.mem_fd(task.serial)
    live = _core.getregs(task.tid)[_RSP] - _RED_ZONE
    digest = 0
    for m in read_maps(task.tid):
        if not m.prot & PROT_WRITE or m.shared or any(m.start < b and a < m.end for a, b in stubs):
            continue
        start = max(m.start, live) if m.start <= live < m.end else m.start
        found = _core.digest_memory(task.tid, fd, start, m.end - start)
        digest = _core.digest64(struct.pack("<QQ", digest, found))
    return digest


def _recorded_cpu(session: Session) -> int:
    """From the landmark of the event at hand."""
    _, _, _, _, _, _, out, _ = session.core.event()
    for item in decode_out(out):
        if item.address == _CPU:
            return int.from_bytes(item.data, "little")
    return 0


class Retrier:
    """Decides after a divergence whether and how the recording is replayed again.

    plan: for the next replay.  tries: replays that may be made without getting any further.
    """

    def __init__(self, tries: int = TRIES) -> None:
        self.plan = Plan()
        self.tries = tries
        self.first: DivergenceError | None = None
        self._examined: set[int] = set()
        self._most = tries
        self._furthest = -1
        self._start = time.monotonic()
        self._until = 0.0

    def again(self, error: DivergenceError, landmarks: list[int]) -> bool:
        """Whether another try makes sense; `plan` says then how.

        landmarks: events at which the failed replay looked for one, in order.
        """
        now = time.monotonic()
        if self.first is None:
            self.first = error
        if error.event > self._furthest:  # it led on: that is what these bounds are for
            if self._furthest >= 0:
                self.first = error
            self._furthest = error.event
            self.tries = self._most
            self._until = now + max(TIMES * (now - self._start), SECONDS)
        if not self.tries or now > self._until or not landmarks:
            return False
        self.tries -= 1
        self.plan.times.clear()
        suspects = [n for n in landmarks if n <= error.event][-SUSPECTS:]
        if new := [n for n in suspects if n not in self._examined]:
            self._examined.update(new)
            self.plan.examine.update(new)
            sys.stderr.write(
                f"relive: note: event {error.event} differs; replaying again, to look for other"
                " places that fit the asynchronous events before\n"
            )
            return True
        for number in reversed(suspects):
            choice = self.plan.choices.get(number)
            if choice is None or not choice.another():
                continue
            for later in [n for n in self._examined if n > number]:
                # what came after the wrong place says nothing about the right one
                self._examined.discard(later)
                self.plan.choices.pop(later, None)
            return True
        return False

    def told(self) -> str:
        """What was found out, for the user."""
        return "; ".join(
            f"event {n} fits {len(c.order)} places, of which number {c.order[c.at] + 1} leads on"
            for n, c in sorted(self.plan.choices.items())
            if len(c.order) > 1
        )

    def final(self, error: DivergenceError) -> DivergenceError:
        """The divergence to be told in the end."""
        first = self.first or error
        ambiguous = [n for n, c in sorted(self.plan.choices.items()) if len(c.order) > 1]
        if ambiguous and not first.hint:
            events = ", ".join(map(str, ambiguous[-4:]))
            first.hint = f"the state recorded at event {events} fits several places; none led on"
        return first
