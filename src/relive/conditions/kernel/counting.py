"""Sites that only count: perf's sample period, without BPF and without privilege.

The kernel counts the hits (each costs what one rejected by a program does) and tells every Nth,
exactly.  That decides conditions on the hit count alone, on one thread.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple, Self

from relive.conditions.ir import Binary, Const, Expr, Hits
from relive.conditions.kernel.perf import Access, Event

if TYPE_CHECKING:
    from types import TracebackType

#: above it perf takes a period for a negative number
MAX_PERIOD = (1 << 63) - 1

_cookies = itertools.count(0x7E11_C000_0000_0001)


class Plan(NamedTuple):
    """Which hits to tell: number `first` (from 1), then every `then`th after it; None: no more."""

    first: int
    then: int | None


def plan(condition: Expr, count: int | None = None) -> Plan | None:
    """How to find the candidates of `condition` (or the one of number `count`) by counting.

    None when the condition takes more than that: an expression other than a constant that is not
    0, hits == N, hits >= N, hits > N and hits % N == 0.
    """
    found = _plan(condition)
    if found is None or not 0 < found.first <= MAX_PERIOD:
        return None
    if count is None or count < 1:
        return found
    if count == 1:
        return Plan(found.first, None)
    if found.then is None:
        return None
    nth = found.first + (count - 1) * found.then
    return Plan(nth, None) if nth <= MAX_PERIOD else None


def _plan(condition: Expr) -> Plan | None:
    match condition:
        case Const(value) if value:
            return Plan(1, 1)
        case Binary("eq", Hits(), Const(n)) | Binary("eq", Const(n), Hits()):
            return Plan(n, None)
        case Binary("ule", Const(n), Hits()):
            return Plan(max(n, 1), 1)
        case Binary("ult", Const(n), Hits()):
            return Plan(n + 1, 1)
        case Binary("eq", Binary("urem", Hits(), Const(n)), Const(0)) | Binary(
            "eq", Const(0), Binary("urem", Hits(), Const(n))
        ) if n:
            return Plan(n, n)
    return None


class CountingSite:
    """A breakpoint or watchpoint on one thread that stops it at the hits of a plan.

    A stop has trap_cookie(siginfo) == cookie; call `take_stop` before the thread goes on.
    Raises OSError as Event.breakpoint does.
    """

    def __init__(
        self,
        tid: int,
        address: int,
        plan: Plan,
        *,
        access: Access = Access.EXECUTE,
        length: int = 8,
    ) -> None:
        self.address = address
        self.plan = plan
        self.cookie = next(_cookies)
        self.event = Event.breakpoint(
            tid, address, access, length, sigtrap=True, cookie=self.cookie, period=plan.first
        )
        try:
            self.event.enable()
        except BaseException:
            self.event.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def take_stop(self) -> int:
        """The number of the hit that the thread is stopped at; arms the next one of the plan."""
        if self.plan.then is None:
            self.event.disable()
        elif self.event.attr.sample_period != self.plan.then:
            self.event.set_period(self.plan.then)
        return self.event.count()

    def hits(self) -> int:
        """Executions so far; after the last hit of the plan they are no longer counted."""
        return self.event.count()

    def close(self) -> None:
        """Disarm."""
        self.event.close()
