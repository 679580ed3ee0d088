"""What a replay keeps for its searches: known positions, kernel programs, probes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from relive.errors import Unsupported, UsageError
from relive.trace import index
from relive.trace.index import Position

if TYPE_CHECKING:
    from collections.abc import Iterable

    from relive.conditions.kernel.programs import Programs
    from relive.replay.search.kernel import Uprobes
    from relive.trace.reader import Recording

EVALUATORS: Final = ("auto", "inprocess", "kernel", "uprobe", "supervisor")
SUSPECTS: Final = 8
"""Landings before a divergence that may be to blame for it."""


class Searching:
    """One replay's.

    evaluator: one of EVALUATORS; others than auto are tried first wherever they can serve.
    positions: of asynchronous events, by event: from the recording's index, and found since.
    believed: whether one from the index was gone to.  doubted: the event whose position is being
    gone to, or was not the right one; None when there is no such.
    """

    def __init__(
        self,
        recording: Recording,
        evaluator: str = "auto",
        *,
        use_index: bool = True,
        but: Iterable[int] = (),
    ) -> None:
        """use_index: whether the recording's index is believed; but: not of these events.

        Raises Unsupported: the machine doesn't allow this evaluator at all; UsageError."""
        if evaluator not in EVALUATORS:
            raise UsageError(
                f"no evaluator is called '{evaluator}'", f"there are {', '.join(EVALUATORS)}"
            )
        if evaluator in ("kernel", "uprobe"):
            why = _missing(evaluator)
            if why is not None:
                raise Unsupported(f"the evaluator '{evaluator}' can't be used: {why}")
        self.evaluator = evaluator
        self._recording = recording
        self._known = index.read(recording)
        self.positions = dict(self._known) if use_index else {}
        self.believed = False
        self.doubted: int | None = None
        self._wrong: set[int] = set()  # events whose positions don't stay in the index
        self._landings: deque[int] = deque(maxlen=SUSPECTS)  # events
        self._last: dict[int, int] = {}  # event of each task's last landing
        for event in but:
            self.positions.pop(event, None)
            self._wrong.add(event)
        self._programs: Programs | None = None
        self._uprobes: Uprobes | None = None

    @property
    def programs(self) -> Programs:
        """Programs of the kernel evaluator."""
        if self._programs is None:
            from relive.conditions.kernel.helper import best_loader
            from relive.conditions.kernel.programs import Programs

            self._programs = Programs(best_loader())
        return self._programs

    @property
    def uprobes(self) -> Uprobes:
        """Uprobes that are in place."""
        if self._uprobes is None:
            from relive.replay.search.kernel import Uprobes

            self._uprobes = Uprobes(self.programs)
        return self._uprobes

    def doubt(self, event: int) -> None:
        """The position known of the event is not to be gone to again, until it is found."""
        del self.positions[event]
        self.doubted = event
        self._wrong.add(event)

    def landed(self, event: int, task: int, position: Position) -> None:
        """An event was found; task: its serial."""
        self.positions[event] = position
        self.doubted = None
        self._wrong.discard(event)
        self._landings.append(event)
        self._last[task] = event

    def ended_early(self) -> None:
        """The replay came to an end before the recording's: what it found last was not followed by
        enough that was verified, and an ambiguous landmark may have been found at a wrong place.
        Where a count led astray, what was known before stays."""
        for event in {*self._landings, *self._last.values()}:
            position = self.positions.pop(event, None)
            if self.doubted is None or position != self._known.get(event):
                self._wrong.add(event)

    def code_moves(self, start: int, end: int) -> None:
        """Mappings change there."""
        if self._uprobes is not None:
            self._uprobes.forget(start, end)

    def close(self) -> None:
        """Frees everything, and writes what was found into the recording's index."""
        if self._uprobes is not None:
            self._uprobes.close()
            self._uprobes = None
        if self._programs is not None:
            self._programs.close()
            self._programs = None
        # Positions that this replay did not come to stay: they may be right.
        positions = {**self._known, **self.positions}
        for event in self._wrong:
            positions.pop(event, None)
        if positions != self._known and not self._recording.live:
            index.write(self._recording, positions)
            self._known = positions


def _missing(evaluator: str) -> str | None:
    """Why the machine does not allow an evaluator of the kernel's."""
    from relive.conditions.kernel import machine, uprobe

    if evaluator == "kernel":
        return machine.missing()
    return uprobe.missing() or machine.programs_missing()
