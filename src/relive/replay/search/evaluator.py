"""What every evaluator does for a search, and the loop that is the same for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from relive.replay.search.landmark import Landmark, Verdict


class Armed(Protocol):
    """The address of a landmark, armed: hits whose registers (or words) differ go by.

    A task that stands at the address when it is armed hits it first.
    """

    name: str

    def next(self) -> int | None:
        """Runs the task to the next candidate: None, or the wait status of another stop.

        Raises OSError; CannotSearch when the evaluator has to give up: the task is then where
        the next one can begin, with `Landmark.before` counting what went by.
        """

    def hits(self) -> int:
        """Executions so far, the one at hand included."""

    def registers(self) -> Sequence[int]:
        """The program's registers at the candidate at hand."""

    def judge(self, mark: Landmark) -> Verdict:
        """`mark.judge` with the program's memory as it was at the candidate at hand."""

    def refine(self, mark: Landmark, new: list[tuple[int, int]]) -> None:
        """Compares these words, too, from the next hit on: recorded values by address."""

    def refine_extended(self, mark: Landmark) -> bool:
        """Compares some extended state that differed, too; False when it can't."""

    def reject(self) -> None:
        """The candidate at hand is not it: the task may go on."""

    def arrive(self) -> None:
        """It is: the task stands at the address, and nothing of it has been executed."""

    def disarm(self) -> None:
        """The search is over, however it ended."""


def drive(mark: Landmark, armed: Armed) -> int:
    """Runs the task to the landmark: the hits that this evaluator saw, the last one included.

    Disarms.  Raises Overshot, CannotSearch, OSError.
    """
    try:
        while True:
            status = armed.next()
            if status is not None:
                raise mark.overshot(status, armed.name, armed.hits())
            if armed.judge(mark) is Verdict.ARRIVED:
                armed.arrive()
                return armed.hits()
            new = mark.refine()
            if new:
                armed.refine(mark, new)
            elif mark.extended_differs and armed.refine_extended(mark):
                mark.refinements += 1
            armed.reject()
    finally:
        armed.disarm()
