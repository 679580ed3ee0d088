"""Hits decided in the process itself, by a stub: 1 ns a hit, or less than the loop itself takes.

The recorded instruction pointer is patched with a jump to a stub that compares registers and
memory words with the recorded ones (body.py).  A hit that passes is a candidate: it stops, and
the whole landmark is compared.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from relive import _core
from relive.replay.search.body import N_TESTS
from relive.replay.search.landmark import MAX_WORDS, RIP, Landmark, Verdict
from relive.replay.search.stores import store
from relive.replay.search.supervisor import LIMIT
from relive.tracee.patching.patcher import Happened, Trap

if TYPE_CHECKING:
    from relive.replay.search.sites import Site, Sites

STRAYS: Final = 32
"""After so many jumps into the bytes that a site's jump displaced, each a stop of some 150 µs, they
are compared with the hits."""
_HITS_A_STRAY: Final = 10
"""So many hits cost another evaluator as much as one of them."""
_FAULTS: Final = (signal.SIGTRAP, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)


class InProcess:
    """See `evaluator.Armed`.

    site: its jump is in place.  until: the hit of the interval to be counted to; 0 when
    searching.
    """

    name = "in-process"

    def __init__(self, mark: Landmark, sites: Sites, site: Site, until: int = 0) -> None:
        self._mark = mark
        self._sites = sites
        self._target = sites.target
        self._site: Site | None = site
        self._offset = 0  # of the trap of the candidate at hand
        self._registers: list[int] = []  # at it
        self._tests: set[tuple[int, int]] = set()
        self._strays = 0  # since the site was made
        self._alive = True
        self._start = 0  # of the counter
        self._until = until
        self._prepare(site)

    def _prepare(self, site: Site) -> None:
        """Sets what the stub compares with, or counts to."""
        mark, body = self._mark, site.body
        body.set_front(self._target, counting=bool(self._until))
        if self._until:
            self._start = mark.before - self._until
            body.set_hits(self._target, self._start)
        else:
            self._set_condition(site)
        if site.guard is not None:
            site.guard.set(self._target, on=True)

    def _set_condition(self, site: Site) -> None:
        mark, words = self._mark, {}
        for address in site.telling:
            value = mark.core.sample_word(address)
            if value is not None:
                words[address] = value
        for address, value in mark.words.items():
            if len(words) < MAX_WORDS:
                words[address] = value
        mark.words = words
        if self._tests:
            self._tests.clear()
        site.body.clear_tests(self._target)
        self._start = 0
        site.body.set_values(self._target, mark.regs, [*words.items()])

    @property
    def site(self) -> Site:
        assert self._site is not None, "no patch is in place"
        return self._site

    def _advance(self) -> Trap | int:
        """To the next trap of the stub's, or the wait status of another stop."""
        while True:
            status = self._mark.core.advance(self._mark.task.serial)
            self._alive = os.WIFSTOPPED(status)
            signo = os.WSTOPSIG(status) if self._alive else 0
            if signo not in _FAULTS or status >> 16:
                return status  # status >> 16: taken for lost, wherever it is, in a stub as well
            site, tid = self.site, self._mark.task.tid
            if site.guard is not None and signo == signal.SIGSEGV and site.guard.holds(tid):
                site.patcher.resolve(tid, signo)  # back to the original if it was displaced
                other = self._written(site)
                if other is not None:
                    return other
                continue
            trap = site.patcher.resolve(tid, signo)
            if trap is None or trap.what is Happened.DISPLACED:
                return status
            if trap.what is Happened.STRAY:
                self._stray(site)
            if trap.what is Happened.BODY:
                if trap.offset == site.body.again:
                    return trap
                left = site.body.leave_loop(trap.offset, _core.getregs(tid), self._target)
                if left is None:
                    return trap
                _core.setregs(tid, left)  # the program's own fault, in a copy of the loop
                return status

    def _written(self, site: Site) -> int | None:
        """The program is about to write to the guarded pages: the jump goes, until the address is
        executed the next time.  The wait status of another stop that comes before that."""
        mark, serial = self._mark, self._mark.task.serial
        assert site.guard is not None
        mark.before += self.hits()
        self._site = None
        site.switch(self._target, on=False)
        site.guard.set(self._target, on=False)
        mark.core.hw_break(serial, mark.address)
        end, status, _ = mark.core.search(serial, b"", False, 1)
        self._alive = os.WIFSTOPPED(status)
        if self._alive:
            mark.core.hw_break(serial, 0)
        if end != LIMIT:
            if self._alive:
                self._sites.drop(mark.address)
            return status
        self._site = self._sites.again(mark.address)
        self._prepare(self._site)
        return None

    def _stray(self, site: Site) -> None:
        """Displaced bytes were jumped into. When that happens all the time, the site is made anew
        without displacing those.  Raises CannotSearch where that is not possible, OSError."""
        self._strays += 1
        if self._strays < STRAYS or self._strays * _HITS_A_STRAY < self.hits():
            return
        self._mark.before += self.hits()
        self._strays = 0
        self._site = None
        if site.guard is not None:
            site.guard.set(self._target, on=False)
        self._site = self._sites.avoiding(self._mark.address)
        self._prepare(self._site)

    def _remove(self, site: Site) -> None:
        if site.guard is not None:
            site.guard.set(self._target, on=False)
        self._sites.remove(self._mark.address)
        self._site = None

    def next(self) -> int | None:
        trap = self._advance()
        if not isinstance(trap, Trap):
            return trap
        self._offset = trap.offset
        self._registers = list(_core.getregs(self._mark.task.tid))
        if trap.offset == self.site.body.candidate:
            return None
        # a word's page is gone: no candidate
        self.reject()
        return self.next()

    def hits(self) -> int:
        if self._site is None:
            return 0
        return self._site.body.hits(self._target) - self._start & (1 << 64) - 1

    def registers(self) -> Sequence[int]:
        return self.site.body.view(self._offset, self._registers, self._target)

    def judge(self, mark: Landmark) -> Verdict:
        site, hit = self.site, mark.before + self.hits()
        if site.guard is None:
            return mark.judge(self.registers(), hit)
        site.switch(self._target, on=False)  # code that is data, too, and compared as such
        try:
            return mark.judge(self.registers(), hit)
        finally:
            site.switch(self._target, on=True)

    def refine(self, mark: Landmark, new: list[tuple[int, int]]) -> None:
        self.site.body.set_words(self._target, [*mark.words.items()])
        for address, _ in new:
            self.site.remember(address)

    def refine_extended(self, mark: Landmark) -> bool:
        if len(self._tests) == N_TESTS:
            return False
        for component, offset, value in mark.core.compare_xstate(mark.task.serial, 8):
            instruction = store(component, offset)
            if instruction is not None and (component, offset) not in self._tests:
                self.site.body.set_test(self._target, len(self._tests), instruction, value)
                self._tests.add((component, offset))
                return True
        return False

    def reject(self) -> None:
        site = self.site
        if self._offset > site.body.counted:  # (in the front)
            registers = site.body.view(self._offset, self._registers, self._target)
            registers[RIP] = site.patch.resume
        else:
            registers = self._registers
            registers[RIP] = site.patch.stub + site.body.reject
        _core.setregs(self._mark.task.tid, registers)

    def arrive(self) -> None:
        registers = list(self.registers())
        registers[RIP] = self._mark.address
        _core.setregs(self._mark.task.tid, registers)

    def disarm(self) -> None:
        site = self._site
        if site is None or not self._alive:
            return
        if site.guard is None:
            site.switch(self._target, on=False)
        else:
            self._remove(site)

    def count(self) -> int | None:
        """Brings the task to the hit counted to, nothing of it executed: None, or the wait status
        of another stop.  Raises as `next`."""
        mark = self._mark
        trap = self._advance()
        if not isinstance(trap, Trap):
            mark.before += self.hits()
            return trap
        body = self.site.body
        assert trap.offset in (body.counted, body.again), "a front that counts has no other trap"
        self._offset = trap.offset
        self._registers = list(_core.getregs(mark.task.tid))
        self.arrive()
        return None
