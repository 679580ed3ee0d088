"""Sites: what was asked for, and what has been armed for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from relive.conditions import ir
from relive.conditions.ir import Outcome
from relive.live.facts import Counts, Record
from relive.live.request import EvaluatorName, Request

if TYPE_CHECKING:
    from relive.conditions.inprocess.evaluator import Site as StubSite
    from relive.conditions.ir import Expr
    from relive.live.process import Process
    from relive.live.shapes import Shape
    from relive.symbols.process import Location, Module


@dataclass(frozen=True, slots=True)
class Wanted:
    """A site to be armed at one address of one process.

    condition: parsed.  collect, at_return: the parsed values.  function: bounds of the function
    around the address, if known.  module: the file it is in.  shapes: what kinds of values are
    collected, those at returns last.
    """

    request: Request
    location: Location
    condition: Expr
    collect: tuple[Expr, ...]
    function: tuple[int, int] | None = None
    module: Module | None = None
    at_return: tuple[Expr, ...] = ()
    shapes: tuple[Shape, ...] = ()

    @property
    def address(self) -> int:
        return self.location.address

    @property
    def stops(self) -> bool:
        """Whether threads stop at candidates: also where returns are waited for from there."""
        return self.request.action.stop or bool(self.at_return)

    @property
    def stop_at(self) -> int:
        """The first candidate at which they do."""
        return 1 if self.at_return else self.request.action.stop_at

    @property
    def decided(self) -> Expr:
        """The condition for the evaluator.

        Where returns are collected it sees every call, and the real one is decided afterwards:
        a call that is left by longjmp is known to be over by the next one at its place.
        """
        return ir.TRUE if self.at_return else self.condition

    @property
    def appended(self) -> tuple[Expr, ...]:
        """Values that the evaluator itself keeps, at the hit."""
        return () if self.at_return else self.collect


class Mechanism(Protocol):
    """One evaluator at work at one address."""

    @property
    def name(self) -> EvaluatorName:
        """Which evaluator."""

    def counts(self) -> Counts:
        """So far; exact while the process is stopped."""

    def disarm(self) -> None:
        """Take it away; `counts` keeps its last values.  Raises OSError."""


@runtime_checkable
class Dropping(Protocol):
    """A mechanism that has to know when its code was unmapped."""

    def drop(self) -> None:
        """The code is not there any more: nothing may be written to it."""


@dataclass(eq=False, slots=True)
class Armed:
    """A site at one address of one process.

    passed_over: evaluators that would have been cheaper, and why each can't be used.
    late: of the evaluator's candidates, those that the real condition (see Wanted.decided)
    rejected, and left undecided.
    """

    site: Site
    process: Process
    wanted: Wanted
    mechanism: Mechanism
    passed_over: dict[str, str]
    active: bool = True
    late: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))

    @property
    def address(self) -> int:
        return self.wanted.address

    @property
    def name(self) -> str:
        return self.wanted.location.name

    @property
    def evaluator(self) -> EvaluatorName:
        return self.mechanism.name

    @property
    def returns(self) -> Sequence[StubSite]:
        """Sites in the process at the returns of its function, which collect without a stop."""
        found: Sequence[StubSite] = getattr(self.mechanism, "returns", ())
        return found

    @property
    def return_breakpoints(self) -> Sequence[int]:
        """Breakpoints at the other returns."""
        found: Sequence[int] = getattr(self.mechanism, "return_breakpoints", ())
        return found

    @property
    def collects_returns(self) -> bool:
        """Whether stubs collect calls, and what is at the function's returns collects the rest."""
        return bool(getattr(self.mechanism, "collects_returns", False))

    def counts(self) -> Counts:
        told = self.mechanism.counts()
        rejected, undecided = self.late[Outcome.REJECT], self.late[Outcome.UNDECIDED]
        return told + Counts(0, -rejected - undecided, rejected, undecided)

    def record(self, tid: int, hit: int, values: Iterable[int | None]) -> Record:
        """A record of this site."""
        return Record(
            self.wanted.request.place,
            self.address,
            self.process.pid,
            tid,
            hit,
            tuple(values),
        )


@dataclass(eq=False, slots=True)
class Site:
    """A request, with everything that was armed for it so far.

    pending: why it is not armed in a process, by process id, as long as that may change.
    waited: why it was not, the last time that it was tried.
    told: what an event has told of why it can't be used.
    """

    number: int
    request: Request
    armed: list[Armed] = field(default_factory=list)
    pending: dict[int, str] = field(default_factory=dict)
    waited: str = ""
    told: str = ""

    def waits(self, pid: int, why: str) -> None:
        """It can't be armed in a process yet."""
        self.pending[pid] = self.waited = why

    def counts(self) -> Counts:
        """The sum over all addresses and processes, those that are gone included."""
        total = Counts()
        for armed in self.armed:
            total += armed.counts()
        return total
