"""What finding landmarks took."""

from __future__ import annotations

from typing import NamedTuple

from relive.replay.search.result import Found


class Landing(NamedTuple):
    """One asynchronous event that was found again.  event: its number; seconds: taken."""

    event: int
    found: Found
    seconds: float


class Statistics:
    """What finding landmarks took, over a replay.

    landings: every one.  reasons: why an evaluator was passed over, and how often.
    """

    def __init__(self) -> None:
        self.landmarks = self.hits = self.candidates = self.refinements = 0
        self.worst_candidates = 0
        self.seconds = 0.0
        self.evaluators: dict[str, int] = {}
        self.reasons: dict[str, int] = {}
        self.landings: list[Landing] = []

    def add(self, event: int, found: Found, seconds: float) -> None:
        self.landings.append(Landing(event, found, seconds))
        self.landmarks += 1
        self.hits += found.hits
        self.candidates += found.candidates
        self.refinements += found.refinements
        self.worst_candidates = max(self.worst_candidates, found.candidates)
        self.seconds += seconds
        by = found.evaluator
        self.evaluators[by] = self.evaluators.get(by, 0) + 1

    def passed_over(self, evaluator: str, why: str) -> None:
        """An evaluator could not serve a place."""
        reason = f"{evaluator}: {why}"
        self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def text(self) -> str:
        by = ", ".join(f"{n} {name}" for name, n in sorted(self.evaluators.items()))
        return (
            f"{self.landmarks} asynchronous events found again ({by}):"
            f" {self.hits} hits, {self.candidates} candidates (worst {self.worst_candidates}),"
            f" {self.refinements} refinements, {self.seconds:.3f} s"
        )
