"""Hits decided by the supervisor, through a debug register: any code, 25 µs a hit."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from relive import _core
from relive.replay.search.landmark import Landmark, Verdict

CANDIDATE: Final = 0
STOP: Final = 1
LIMIT: Final = 2
"""enum search_end of replay.h."""


class Supervisor:
    """See `evaluator.Armed`."""

    name = "supervisor"

    def __init__(self, mark: Landmark) -> None:
        self._mark = mark
        self._hits = 0
        self._words = b""
        self.refine(mark, [])
        mark.core.hw_break(mark.task.serial, mark.address)

    def next(self) -> int | None:
        end, status, hits = self._mark.core.search(self._mark.task.serial, self._words, True, 0)
        self._hits += hits
        return None if end == CANDIDATE else status

    def count_to(self, number: int) -> int | None:
        """Runs to the hit of that number (of all it sees), as `next`."""
        todo = number - self._hits
        end, status, hits = self._mark.core.search(self._mark.task.serial, b"", False, todo)
        self._hits += hits
        return None if end == LIMIT else status

    def hits(self) -> int:
        return self._hits

    def registers(self) -> Sequence[int]:
        return _core.getregs(self._mark.task.tid)

    def judge(self, mark: Landmark) -> Verdict:
        return mark.judge(self.registers(), mark.before + self._hits)

    def refine(self, mark: Landmark, new: list[tuple[int, int]]) -> None:
        self._words = b"".join(struct.pack("<QQ", *pair) for pair in mark.words.items())

    def refine_extended(self, mark: Landmark) -> bool:
        return False

    def reject(self) -> None:
        pass

    def arrive(self) -> None:
        pass

    def disarm(self) -> None:
        with suppress(ProcessLookupError):  # the task died of what came instead
            self._mark.core.hw_break(self._mark.task.serial, 0)
