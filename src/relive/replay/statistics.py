"""What finding landmarks took."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from relive.replay.search.result import Found

_MOST: Final = 10
"""Landings in the short table."""


class Landing(NamedTuple):
    """One asynchronous event that was found again.

    event: its number.  task: serial.  address: where it landed.  seconds: taken.
    """

    event: int
    task: int
    address: int
    found: Found
    seconds: float

    @property
    def rejected(self) -> int:
        """Hits that the evaluator rejected by itself."""
        return self.found.hits - self.found.candidates

    def row(self) -> tuple[str, ...]:
        """For the table."""
        found = self.found
        return (
            f"{self.event}",
            f"{self.task}",
            f"{self.address:#x}",
            f"{self.rejected}",
            f"{found.candidates}",
            f"{found.refinements}",
            f"{found.evaluator}{', counted' if found.counted else ''}",
            f"{self.seconds * 1000:.2f}",
        )

    def as_json(self) -> dict[str, Any]:
        """For `replay --stats-json`; position: as E:ADDRESS#N."""
        return {
            "event": self.event,
            "task": self.task,
            "position": f"{self.event}:{self.address:#x}#{self.found.hits}",
            "hits": self.found.hits,
            "rejected": self.rejected,
            "candidates": self.found.candidates,
            "refinements": self.found.refinements,
            "evaluator": self.found.evaluator,
            "counted": self.found.counted,
            "seconds": self.seconds,
        }


_HEAD: Final = (
    "event", "task", "address", "rejected", "candidates", "refinements", "evaluator", "ms",
)  # fmt: skip
_LEFT: Final = _HEAD.index("evaluator")


class Statistics:
    """What finding landmarks took, over a replay.

    landings: every one.  reasons: why an evaluator was passed over, and how often.
    """

    def __init__(self, *, wanted: bool = True) -> None:
        """wanted: whether landings are kept; a million of them take 350 MB."""
        self._wanted = wanted
        self.landings: list[Landing] = []
        self.reasons: dict[str, int] = {}

    def add(self, landing: Landing) -> None:
        if self._wanted:
            self.landings.append(landing)

    def passed_over(self, evaluator: str, why: str) -> None:
        """An evaluator could not serve a place."""
        reason = f"{evaluator}: {why}"
        self.reasons[reason] = self.reasons.get(reason, 0) + 1

    # -- totals

    @property
    def landmarks(self) -> int:
        return len(self.landings)

    @property
    def hits(self) -> int:
        return sum(landing.found.hits for landing in self.landings)

    @property
    def candidates(self) -> int:
        return sum(landing.found.candidates for landing in self.landings)

    @property
    def worst_candidates(self) -> int:
        return max((landing.found.candidates for landing in self.landings), default=0)

    @property
    def refinements(self) -> int:
        return sum(landing.found.refinements for landing in self.landings)

    @property
    def counted(self) -> int:
        return sum(landing.found.counted for landing in self.landings)

    @property
    def seconds(self) -> float:
        return sum(landing.seconds for landing in self.landings)

    @property
    def evaluators(self) -> dict[str, int]:
        """Landings by who decided their hits."""
        by: dict[str, int] = {}
        for landing in self.landings:
            by[landing.found.evaluator] = by.get(landing.found.evaluator, 0) + 1
        return by

    # -- to be shown

    def text(self) -> str:
        """The totals in one line."""
        by = ", ".join(f"{n} {name}" for name, n in sorted(self.evaluators.items()))
        counted = f", {self.counted} by counting" if self.counted else ""
        return (
            f"{self.landmarks} asynchronous events found again ({by}{counted}):"
            f" {self.hits} hits, {self.candidates} candidates (worst {self.worst_candidates}),"
            f" {self.refinements} refinements, {self.seconds:.3f} s"
        )

    def table(self, *, whole: bool) -> list[str]:
        """Lines of a table of the landings: all of them, or those that took longest."""
        shown = self.landings
        if not whole and len(shown) > _MOST:
            slowest = sorted(shown, key=lambda landing: -landing.seconds)[:_MOST]
            shown = sorted(slowest, key=lambda landing: landing.event)
        rows = [_HEAD, *(landing.row() for landing in shown)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
        lines = [
            "  ".join(
                cell.ljust(width) if i == _LEFT else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        left_out = len(self.landings) - len(shown)
        if left_out:
            lines.append(f"({left_out} that took less are left out; --stats=all shows them)")
        return lines

    def as_json(self) -> dict[str, Any]:
        """For `replay --stats-json`."""
        return {
            "landmarks": self.landmarks,
            "hits": self.hits,
            "candidates": self.candidates,
            "refinements": self.refinements,
            "seconds": self.seconds,
            "evaluators": self.evaluators,
            "passed_over": self.reasons,
            "landings": [landing.as_json() for landing in self.landings],
        }
