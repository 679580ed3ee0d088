"""Sites: what was asked for, and what has been armed for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from relive.live.facts import Counts, Record
from relive.live.request import EvaluatorName, Request

if TYPE_CHECKING:
    from relive.conditions.ir import Expr
    from relive.live.process import Process
    from relive.symbols.process import Location, Module


@dataclass(frozen=True, slots=True)
class Wanted:
    """A site to be armed at one address of one process.

    condition: parsed.  collect: the parsed values.  function: bounds of the function around the
    address, if known.  module: the file it is in.
    """

    request: Request
    location: Location
    condition: Expr
    collect: tuple[Expr, ...]
    function: tuple[int, int] | None = None
    module: Module | None = None

    @property
    def address(self) -> int:
        return self.location.address


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
    """

    site: Site
    process: Process
    wanted: Wanted
    mechanism: Mechanism
    passed_over: dict[str, str]
    active: bool = True

    @property
    def address(self) -> int:
        return self.wanted.address

    @property
    def name(self) -> str:
        return self.wanted.location.name

    @property
    def evaluator(self) -> EvaluatorName:
        return self.mechanism.name

    def counts(self) -> Counts:
        return self.mechanism.counts()

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
    """

    number: int
    request: Request
    armed: list[Armed] = field(default_factory=list)
    pending: dict[int, str] = field(default_factory=dict)

    def counts(self) -> Counts:
        """The sum over all addresses and processes, those that are gone included."""
        total = Counts()
        for armed in self.armed:
            total += armed.counts()
        return total
