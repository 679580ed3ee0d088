"""Sites decided inside the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relive.arch.x86_64 import RED_ZONE
from relive.conditions.inprocess.evaluator import Action, Arm, InProcess
from relive.conditions.inprocess.evaluator import Site as StubSite
from relive.conditions.inprocess.stub import Collect, Count, Stop
from relive.live.facts import Counts
from relive.live.request import Access, EvaluatorName

if TYPE_CHECKING:
    from relive.live.process import Process
    from relive.live.site import Wanted


class InProcessed:
    """A site with a stub in the process.

    decided_rejected, decided_candidates: hits that the stub left undecided, and what the
    supervisor made of them.
    """

    name: EvaluatorName = "inprocess"

    def __init__(self, process: Process, wanted: Wanted, site: StubSite) -> None:
        self.process = process
        self.wanted = wanted
        self.site = site
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
            self.process.inprocess.disarm([self.site.address])
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
            for address in stubs.patcher.unmapped(self.site.address, self.site.address + 1):
                stubs.sites.pop(address, None)

    def keep(self) -> None:
        """The process is going: the last values of the counters are kept."""
        if self._last is None:
            self._last = self.counts()


def _action(wanted: Wanted) -> Action:
    action = wanted.request.action
    if action.stop and action.stop_at > 1 and not wanted.collect:
        return Count(action.stop_at)  # moved on at each stop: see `stopped`
    if action.stop:
        # Values of a candidate that stops are taken at the stop.
        return Stop()
    return Collect(wanted.collect) if wanted.collect else Count()


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
    arms = []
    by_address = {}
    for one in wanted:
        why = refusal(process, one)
        if why is not None:
            outcome[one.address] = why
        else:
            by_address[one.address] = one
            go = one.module is not None and one.module.image.is_go
            red_zone = 0 if go else RED_ZONE
            arms.append(
                Arm(one.address, one.condition, _action(one), one.function, red_zone=red_zone)
            )
    if not arms:
        return outcome
    stubs: InProcess = process.inprocess
    stubs.several_tasks(len(process.threads()) > 1)
    made = stubs.arm(arms)
    _make_room(stubs, made, outcome)
    for address, one_made in made.items():
        if isinstance(one_made, str):
            outcome[address] = one_made
        else:
            outcome[address] = InProcessed(process, by_address[address], one_made)
    return outcome


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
            if site.address < address < site.address + site.patch.reach and site.address in made
        ]
        for site in over:
            stubs.disarm([site.address])
            made[site.address] = f"the site at {address:#x} needs bytes of its jump"
            refused.append(site.address)
