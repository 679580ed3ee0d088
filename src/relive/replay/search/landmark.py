"""The landmark that is being looked for, and what is known about it so far."""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from relive.arch import x86_64
from relive.replay.search.result import Closest, Found, Overshot, Word

if TYPE_CHECKING:
    from relive.replay.session import Session
    from relive.replay.tasks import Task

INDEX: Final = {r.name: r.index for r in x86_64.REGISTERS}
RIP: Final = INDEX["rip"]
EFLAGS: Final = INDEX["eflags"]
GENERAL: Final = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
"""The general registers in the order of their numbers in instructions (Intel SDM vol. 2, 2.2)."""

MAX_WORDS: Final = 12
"""Words that refinement adds to a condition, at most."""
_A_ROUND: Final = 6
_COMPARED: Final = itemgetter(*(INDEX[name] for name in (*GENERAL, "fs_base", "gs_base")))
_SEEN: Final = 1024
"""Differing words of a candidate that are looked at."""
TRACING: Final = x86_64.FLAG_TRAP | x86_64.FLAG_RESUME
"""Flags that tracing itself changes."""
_TOLD: Final = 4
"""Words of the closest candidate that are kept."""


class Verdict(enum.Enum):
    """What a candidate is."""

    ARRIVED = enum.auto()
    OTHER = enum.auto()
    """Not the landmark: refine, and go on."""


class Landmark:
    """The landmark of the event at hand, as it is being looked for.

    regs: as recorded.  skip: how many candidates that are equal in all are to be passed over.
    before: hits that went by before the evaluator at work was armed.  words: what refinement
    added to the condition, recorded values by address.  counted: the search began by counting
    to a position.
    """

    def __init__(
        self,
        session: Session,
        task: Task,
        skip: int = 0,
        passed: Callable[[int], object] | None = None,
    ) -> None:
        self.session = session
        self.core = session.core
        self.task = task
        self.event: int = session.core.number()
        self.regs: tuple[int, ...] = session.core.logged_regs(task.serial)
        self.address = self.regs[RIP]
        self.skip = skip
        self._passed = passed
        self.before = 0
        self.candidates = 0
        self.refinements = 0
        self.words: dict[int, int] = {}
        self.closest: Closest | None = None
        self.counted = False
        self._differing: list[tuple[int, int]] = []
        self._told: dict[int, int] = {}  # candidates that a word told apart, by address
        self._extended = False

    def found(self, evaluator: str, hits: int) -> Found:
        """hits: seen by this evaluator, the one at hand included."""
        return Found(self.before + hits, self.candidates, self.refinements, evaluator, self.counted)

    def overshot(self, status: int, evaluator: str, hits: int) -> Overshot:
        return Overshot(status, self.found(evaluator, hits), self.closest, counted=self.counted)

    # -- comparing

    def same_registers(self, now: Sequence[int]) -> bool:
        """But for what tracing changes, and the number of the last call, which is the kernel's."""
        if (now[EFLAGS] ^ self.regs[EFLAGS]) & ~TRACING:
            return False
        return bool(_COMPARED(now) == _COMPARED(self.regs))

    def judge(self, now: Sequence[int], hit: int) -> Verdict:
        """Compares the whole landmark with the task as it is.

        now: its registers at the site.  hit: which one it is.  Raises OSError.
        """
        self.candidates += 1
        same, total, same_extended, differing = self.core.compare_sample(self.task.serial, _SEEN)
        self._differing, self._extended = differing, not same_extended
        if same and self.same_registers(now):
            if not self.skip:
                return Verdict.ARRIVED
            self.skip -= 1
            if self._passed is not None:
                self._passed(hit)
            return Verdict.OTHER
        self._note(now, hit, total, not same_extended)
        return Verdict.OTHER

    def _note(self, now: Sequence[int], hit: int, total: int, extended: bool) -> None:
        """Remembers the candidate if none was closer."""
        closest = self.closest
        if closest is not None and (closest.differing, closest.extended) <= (total, extended):
            return
        words = [
            Word(name, self.regs[INDEX[name]], now[INDEX[name]])
            for name in ("fs_base", "gs_base", "eflags")
            if (self.regs[INDEX[name]] ^ now[INDEX[name]]) & ~(TRACING if name == "eflags" else 0)
        ]
        fd = self.core.mem_fd(self.task.serial)
        for address, expected in [*dict(self._differing).items()][:_TOLD]:
            try:
                value = int.from_bytes(os.pread(fd, 8, address), "little")
            except OSError:
                continue
            words.append(Word(address, expected, value))
        self.closest = Closest(hit, total, extended, tuple(words))

    # -- refining

    def refine(self) -> list[tuple[int, int]]:
        """The words to add to the condition after the candidate just judged; they are in `words`
        already, at its end; another may have left it."""
        # blocks of a sample may overlap
        unknown = {a: v for a, v in self._differing if a not in self.words}
        for address in unknown:
            self._told[address] = self._told.get(address, 0) + 1
        room = MAX_WORDS - len(self.words)
        new = _spread([*unknown.items()], min(room, _A_ROUND))
        self.words.update(new)
        if unknown and not room:
            new = self._replace(unknown)
        self.refinements += bool(new)
        return new

    def _replace(self, unknown: dict[int, int]) -> list[tuple[int, int]]:
        """All places are taken, and the candidate passed: the word that has told the fewest
        candidates apart gives way to the one that would have told the most, if those are twice
        as many: where more words tell than there are places, taking turns would gain nothing."""
        told = self._told
        # of equals the last: of memory that is being filled it differs for the longest time
        best = max(reversed(unknown), key=lambda address: told[address])
        least = min(self.words, key=lambda address: told.get(address, 0))
        if told[best] < 2 * told.get(least, 0):
            return []
        del self.words[least]
        self.words[best] = unknown[best]
        return [(best, unknown[best])]

    @property
    def extended_differs(self) -> bool:
        """Whether the extended state of the candidate just judged differed."""
        return self._extended


def _spread(words: list[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """So many of the words: the first half of them those that come first (registers' targets),
    the others spread to the last: of memory that is being filled, the last differs longest."""
    if len(words) <= count:
        return words
    first = (count + 1) // 2
    rest = words[first:]
    parts = count - first
    return words[:first] + [rest[(k + 1) * len(rest) // parts - 1] for k in range(parts)]
