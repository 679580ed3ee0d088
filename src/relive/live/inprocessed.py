"""Sites decided inside the process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from relive.arch.x86_64 import RED_ZONE
from relive.conditions import ir
from relive.conditions.inprocess.evaluator import Action, Arm, InProcess
from relive.conditions.inprocess.evaluator import Site as StubSite
from relive.conditions.inprocess.stub import Collect, Count, Stop
from relive.live import supervised
from relive.live.facts import Counts
from relive.live.request import Access, EvaluatorName
from relive.tracee.patching.exits import returns

if TYPE_CHECKING:
    from relive.conditions.ir import Expr
    from relive.live.process import Process
    from relive.live.site import Wanted


class InProcessed:
    """A site with a stub in the process.

    decided_rejected, decided_candidates: hits that the stub left undecided, and what the
    supervisor made of them.
    returns: sites at the returns of the function, if values are collected there, too.
    return_breakpoints: numbers of breakpoints at those that have no room for a jump.
    """

    name: EvaluatorName = "inprocess"

    def __init__(
        self,
        process: Process,
        wanted: Wanted,
        site: StubSite,
        returns: Sequence[StubSite] = (),
        return_breakpoints: Sequence[int] = (),
    ) -> None:
        self.process = process
        self.wanted = wanted
        self.site = site
        self.returns = tuple(returns)
        self.return_breakpoints = tuple(return_breakpoints)
        self.collects_returns = bool(returns or return_breakpoints)
        self.decided_rejected = 0
        self.decided_candidates = 0
        self._last: Counts | None = None

    def counts(self) -> Counts:
        if self._last is not None:
            return self._last
        site = self.site
        # In this order, each once: threads may be counting meanwhile.
        undecided = site.undecided - self.decided_rejected - self.decided_candidates
        candidates = site.candidates + self.decided_candidates
        hits = max(site.hits, candidates + undecided)
        return Counts(hits, candidates, hits - candidates - undecided, undecided, site.lost)

    def disarm(self) -> None:
        if self._last is None:
            self.process.inprocess.disarm([s.address for s in (self.site, *self.returns)])
            self._last = self.counts()

    def stopped(self) -> None:
        """A candidate has been told: the next one is the next to stop at."""
        if isinstance(self.site.arm.action, Count):
            self.site.counters.stop_at = self.site.candidates + 1

    def drop(self) -> None:
        """The code was unmapped; the counters keep their values."""
        if self._last is None:
            self._last = self.counts()
            stubs = self.process.inprocess
            for site in (self.site, *self.returns):
                for address in stubs.patcher.unmapped(site.address, site.address + 1):
                    stubs.sites.pop(address, None)

    def keep(self) -> None:
        """The process is going: the last values of the counters are kept."""
        if self._last is None:
            self._last = self.counts()


def _action(wanted: Wanted) -> Action:
    if wanted.stops and wanted.stop_at > 1 and not wanted.collect:
        return Count(wanted.stop_at)  # moved on at each stop: see `stopped`
    if wanted.stops:
        # Values of a candidate that stops are taken at the stop.
        return Stop()
    lose = wanted.request.action.full == "lose"
    return Collect(wanted.collect, lose) if wanted.collect else Count()


def refusal(process: Process, wanted: Wanted) -> str | None:
    """Why a site can't be armed in the process, as far as that is known before it is tried."""
    if wanted.request.access is not Access.EXECUTE:
        return "it watches code, not data"
    why = process.calls_refused()
    if why:
        return why
    if process.shadow_stack():
        return "the process has a shadow stack"
    start, end = wanted.address - 32, wanted.address + 32
    for armed in process.armed:
        if armed.active and armed.evaluator == "supervisor" and start < armed.address < end:
            return f"there is a breakpoint nearby, at {armed.address:#x}"
    return None


def arm(process: Process, wanted: list[Wanted]) -> dict[int, InProcessed | str]:
    """Arm sites, by address; or why each can't be.  The session is paused."""
    outcome: dict[int, InProcessed | str] = {}
    by_address = {}
    for one in wanted:
        why = refusal(process, one)
        if why is not None:
            outcome[one.address] = why
        else:
            by_address[one.address] = one
    if not by_address:
        return outcome
    stubs: InProcess = process.inprocess
    stubs.several_tasks(len(process.threads()) > 1)
    _with_returns(process, by_address, outcome)
    made = stubs.arm([_arm(one, one.decided, _action(one)) for one in by_address.values()])
    _make_room(stubs, made, outcome)
    for address, one_made in made.items():
        if isinstance(one_made, str):
            outcome[address] = one_made
        else:
            outcome[address] = InProcessed(process, by_address[address], one_made)
    return outcome


def _arm(wanted: Wanted, condition: Expr, action: Action, address: int | None = None) -> Arm:
    go = wanted.module is not None and wanted.module.image.is_go
    return Arm(
        wanted.address if address is None else address,
        condition,
        action,
        wanted.function,
        red_zone=0 if go else RED_ZONE,
    )


def _with_returns(
    process: Process, by_address: dict[int, Wanted], outcome: dict[int, InProcessed | str]
) -> None:
    """Arm those whose returns can be collected without a stop; they leave `by_address`.

    The stack pointer is the last value of each record: it is the same at the first instruction
    and at the return, and tells which of them belong together.  The first value of a call is
    that of the condition.  In between are those asked for.
    """
    stubs: InProcess = process.inprocess
    rsp = ir.reg("rsp")
    for address, one in list(by_address.items()):
        action = one.request.action
        if not one.at_return or action.stop or action.full == "lose":
            continue
        if one.function is None or one.function[0] != address:
            continue
        found = returns(process.read, *one.function)
        if isinstance(found, str) or address in found:
            continue
        # Records of one size are read faster.
        call, back = (one.condition, *one.collect), one.at_return
        call += (ir.FALSE,) * (len(back) - len(call))
        back += (ir.FALSE,) * (len(call) - len(back))
        arms = [_arm(one, ir.TRUE, Collect((*call, rsp)))]
        arms += [_arm(one, ir.TRUE, Collect((*back, rsp)), at) for at in found]
        made = stubs.arm(arms)
        _make_room(stubs, made, {})
        entry = made[address]
        sites = [made[at] for at in found]
        inside = [site for site in sites if not isinstance(site, str)]
        numbers = []
        if not isinstance(entry, str) and all(s.stub.ring == entry.stub.ring for s in inside):
            # A return of one byte, with other code right behind it, is seen by the supervisor.
            outside = [at for at in found if isinstance(made[at], str)]
            for at in outside:
                number = supervised.internal(process, at)
                if number is not None:
                    numbers.append(number)
            if len(numbers) == len(outside):
                outcome[address] = InProcessed(process, one, entry, inside, numbers)
                del by_address[address]
                continue
        for number in numbers:
            process.core.disarm(number)
        stubs.disarm([s.address for s in (entry, *inside) if not isinstance(s, str)])


def _make_room(
    stubs: InProcess, made: dict[int, StubSite | str], outcome: dict[int, InProcessed | str]
) -> None:
    """Take back sites whose bytes a refused one needs: an int3 will have to go there."""
    refused = [a for a, found in made.items() if isinstance(found, str)]
    refused += [a for a, found in outcome.items() if isinstance(found, str)]
    while refused:
        address = refused.pop()
        over = [
            site
            for site in stubs.sites.values()
            if site.address != address and site.address in made and address in site.patch.bytes_used
        ]
        for site in over:
            stubs.disarm([site.address])
            made[site.address] = f"the site at {address:#x} needs bytes of its jump"
            refused.append(site.address)
