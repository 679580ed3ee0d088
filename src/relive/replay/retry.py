"""Replaying again after a divergence: another place that fits a landmark, or another evaluator.

A landmark pins an asynchronous event by registers, extended state and a sample of memory. Two
places of an interval may be equal in all of that and differ in memory that was not sampled. The
search takes the first; when that was the wrong one, what comes later differs from the recording,
and the replay, which verifies every event, ends in a divergence. Then it is done again:

1. The last landmarks before the divergence are *examined*: from a checkpoint of its interval
   (replay/rewind.py) each is passed over until the interval ends, which tells all places that fit.
   Where none fits, the supervisor decides every hit once more: it is the slow twin of the others.
2. Where several fit, they are tried one after the other, the latest landmark's first, those
   first whose processor time is nearest to the recorded one (a hint: it reproduces within a few
   percent).

Every try is a replay from the beginning, and is verified like any other; the output that was
printed already is left out. When nothing is left to try, the first divergence is what is told.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

from relive.errors import DivergenceError
from relive.replay.rewind import CannotRewind, Checkpoint
from relive.trace.events import decode_out
from relive.tracee.cputime import cpu_ns

if TYPE_CHECKING:
    from relive.replay.search import Overshot, Passed
    from relive.replay.session import Session
    from relive.replay.tasks import Task

#: Landmarks before a divergence that are examined.
SUSPECTS: Final = 8
#: Places of one interval that are looked at.
PLACES: Final = 1024
#: Replays that get no further than those before.
TRIES: Final = 40
#: They may take this many times what there was before, or so many seconds.
TIMES: Final = 50
SECONDS: Final = 60.0
#: Address of the processor time in a sample (core/landmark.h).
_CPU: Final = 1


class Choice:
    """The places of an interval that fit its landmark, in the order in which they are tried.

    order: how many others are to be passed over for each.
    """

    def __init__(self, order: tuple[int, ...]) -> None:
        self.order = order
        self.at = 0

    @property
    def passes(self) -> int:
        return self.order[self.at]

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
            find(session, task, choice.passes if choice else 0)
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
            passed, missed = _places(session, task)
            if passed:
                self.choices[number] = Choice(self._ordered(session, task, start, began, passed))
                start.restore()
                find(session, task, self.choices[number].passes)
                return
            if not isinstance(missed, Overshot):
                raise AssertionError("an interval without an end and without a place that fits")
            start.restore()
            evaluator, session.searching.evaluator = session.searching.evaluator, "supervisor"
            try:
                find(session, task)
            except Overshot:
                raise missed from None  # it tells more: the refined candidate that was closest
            finally:
                session.searching.evaluator = evaluator

    def _ordered(
        self, session: Session, task: Task, start: Checkpoint, began: int, passed: list[Passed]
    ) -> tuple[int, ...]:
        """Those first whose processor time is nearest to what was recorded."""
        if len(passed) == 1:
            return (0,)
        recorded, replayed = self.times.get(task.serial, (0, 0))
        wanted = max(_recorded_cpu(session) - recorded - (began - replayed), 0)
        searched = passed[-1].cpu_ns - began
        start.restore()
        slower = max(searched / max(_native(session, task, searched), 1), 1.0)

        def off(n: int) -> float:
            return abs((passed[n].cpu_ns - began) / slower - wanted)

        return tuple(sorted(range(len(passed)), key=off))


def _places(session: Session, task: Task) -> tuple[list[Passed], Overshot | None]:
    """The places from here on that fit the landmark, and what ended the interval: None when there
    are too many."""
    from relive.replay.search import Overshot, find

    passed: list[Passed] = []
    session.core.patience(200, 5000)
    try:
        find(session, task, PLACES, passed=passed)
    except Overshot as e:
        return passed, e
    finally:
        session.core.patience(20)
    return passed, None


def _native(session: Session, task: Task, most: int) -> int:
    """Processor time from here to the interval's end, nothing being searched; `most` if it does
    not end before."""
    began = cpu_ns(task.tid)
    session.core.patience(0, most // 1_000_000 + 1)
    try:
        session.core.advance(task.serial)
    finally:
        session.core.patience(20)
    return min(cpu_ns(task.tid) - began, most)


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
            f"event {n} fits {len(c.order)} places, of which number {c.passes + 1} leads on"
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
