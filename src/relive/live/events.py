"""What a session tells of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from relive.conditions.ir import Outcome

if TYPE_CHECKING:
    from relive.live.process import Process
    from relive.live.site import Armed, Site
    from relive.symbols.unwind import Frame


@dataclass(frozen=True, slots=True, eq=False)
class Hit:
    """A thread stopped at a site: at a candidate, or at a hit that could not be decided.

    outcome: MATCH or UNDECIDED.  hit, candidate: numbers, from 1, at this address.
    registers: the 27 of struct user_regs_struct, rip at the site (behind the instruction for
    WRITE and ACCESS).  fault: why it is undecided, "" for a candidate.
    values: of the expressions to collect, None for one without a value.
    """

    process: Process
    tid: int
    site: Site
    armed: Armed
    outcome: Outcome
    hit: int
    candidate: int
    registers: Sequence[int]
    values: tuple[int | None, ...] = ()
    fault: str = ""

    def backtrace(self, *, limit: int = 64, lines: bool = True) -> list[Frame]:
        """The thread's callers; only while it is stopped."""
        return self.process.unwinder.backtrace(self.registers, limit=limit, lines=lines)

    def read(self, address: int, size: int) -> bytes:
        """The process's memory, without breakpoints.  Raises OSError."""
        return self.process.read(address, size)


@dataclass(frozen=True, slots=True)
class Exited:
    """A process is gone.  status: a wait status (os.waitstatus_to_exitcode)."""

    pid: int
    status: int


@dataclass(frozen=True, slots=True, eq=False)
class Executed:
    """A process executed another program; sites were looked up in it anew."""

    process: Process


@dataclass(frozen=True, slots=True, eq=False)
class Forked:
    """A child is followed; it has the same sites, counted separately."""

    process: Process
    parent: int


@dataclass(frozen=True, slots=True, eq=False)
class Resolved:
    """A site that was pending has been armed, in a library that was loaded now."""

    process: Process
    site: Site
    armed: tuple[Armed, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Failed:
    """A site could not be armed in a process that appeared or changed.  why: in words."""

    process: Process
    site: Site
    why: str


Event: TypeAlias = Hit | Exited | Executed | Forked | Resolved | Failed
