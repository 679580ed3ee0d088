"""What finding landmarks took."""

from __future__ import annotations

from typing import NamedTuple


class Found(NamedTuple):
    """hits: executions of the site, the event's own included; candidates: with equal registers."""

    hits: int
    candidates: int
    refinements: int


class Statistics:
    """What finding landmarks took, over a replay."""

    def __init__(self) -> None:
        self.landmarks = self.hits = self.candidates = self.refinements = 0
        self.worst_candidates = 0
        self.seconds = 0.0
        self.evaluators: dict[str, int] = {}
        self.reasons: dict[str, int] = {}

    def add(self, evaluator: str, found: Found, seconds: float) -> None:
        self.landmarks += 1
        self.hits += found.hits
        self.candidates += found.candidates
        self.refinements += found.refinements
        self.worst_candidates = max(self.worst_candidates, found.candidates)
        self.seconds += seconds
        self.evaluators[evaluator] = self.evaluators.get(evaluator, 0) + 1

    def text(self) -> str:
        by = ", ".join(f"{n} {name}" for name, n in sorted(self.evaluators.items()))
        return (
            f"{self.landmarks} asynchronous events found again ({by}):"
            f" {self.hits} hits, {self.candidates} candidates (worst {self.worst_candidates}),"
            f" {self.refinements} refinements, {self.seconds:.3f} s"
        )
