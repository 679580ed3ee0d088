"""What a replay keeps for its searches: known positions, kernel programs, probes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relive.errors import Unsupported, UsageError
from relive.trace import index
from relive.trace.index import Position

if TYPE_CHECKING:
    from relive.conditions.kernel.programs import Programs
    from relive.replay.search.kernel import Uprobes
    from relive.trace.reader import Recording

EVALUATORS: Final = ("auto", "inprocess", "kernel", "uprobe", "supervisor")


class Searching:
    """One replay's.

    evaluator: one of EVALUATORS; others than auto are tried first wherever they can serve.
    positions: of asynchronous events, by event: from the recording's index, and found since.
    believed: whether one from the index was gone to.
    """

    def __init__(
        self, recording: Recording, evaluator: str = "auto", *, use_index: bool = True
    ) -> None:
        """use_index: whether the recording's index is believed.

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
        self._last: dict[int, int] = {}  # event of each task's last landing
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

    def landed(self, event: int, task: int, position: Position) -> None:
        """An event was found; task: its serial."""
        self.positions[event] = position
        self._last[task] = event

    def diverged(self) -> None:
        """The replay came to an end that it should not: any task's last landing may be to blame."""
        for event in self._last.values():
            self.positions.pop(event, None)

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
        if self.positions != self._known and not self._recording.live:
            index.write(self._recording, self.positions)
            self._known = dict(self.positions)


def _missing(evaluator: str) -> str | None:
    """Why the machine does not allow an evaluator of the kernel's."""
    from relive.conditions.kernel import machine, uprobe

    if evaluator == "kernel":
        return machine.missing()
    return uprobe.missing() or machine.programs_missing()
