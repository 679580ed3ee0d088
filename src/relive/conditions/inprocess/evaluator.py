"""The in-process evaluator of one address space: sites armed, traps understood, all undone."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from relive.arch import x86_64
from relive.conditions import ir, reference
from relive.conditions.inprocess.asm import LOCK, NO_LOCK
from relive.conditions.inprocess.build import build
from relive.conditions.inprocess.ring import DEFAULT_SIZE, Record, Ring
from relive.conditions.inprocess.shared import CounterPages, Counters
from relive.conditions.inprocess.stub import Collect, Count, Point, Stop, Stub, TooComplex
from relive.conditions.ir import Outcome
from relive.tracee.patching import (
    CannotPatch,
    Happened,
    Patch,
    Patcher,
    Request,
    Target,
    Trap,
)

Action: TypeAlias = Stop | Count | Collect

_RIP: Final = x86_64.BY_NAME["rip"].index
_FS_BASE: Final = x86_64.BY_NAME["fs_base"].index
_BASES: Final = frozenset((x86_64.BY_NAME["fs_base"].index, x86_64.BY_NAME["gs_base"].index))
_PATIENCE: Final = 2.0
"""Seconds that a task may find the ring full with nothing taken out of it in between."""
_AT_HWCAP2: Final = 26
_HWCAP2_FSGSBASE: Final = 2


@dataclass(frozen=True, slots=True)
class Arm:
    """A site wanted."""

    address: int
    condition: ir.Expr
    action: Action = field(default_factory=Stop)
    function: tuple[int, int] | None = None
    """Bounds of the function around the address, if known: it can then be patched better."""
    red_zone: int = x86_64.RED_ZONE
    """Bytes below the stack pointer that the code there uses: 0 for Go."""


@dataclass(eq=False, slots=True)
class Site:
    """A site decided in-process."""

    number: int
    """Names it in records."""
    arm: Arm
    counters: Counters
    stub: Stub
    patch: Patch
    faults: int = 0
    """Hits undecided because of memory that can't be read."""
    uncounted: int = 0
    """Hits that the stub did not get to count: for want of stack, or since the site has
    become a breakpoint."""
    lost_waiting: int = 0
    matched: int = 0
    """Candidates among those."""

    @property
    def address(self) -> int:
        return self.arm.address

    @property
    def hits(self) -> int:
        return int(self.counters.hits) + self.uncounted

    @property
    def undecided(self) -> int:
        return int(self.counters.undecided) + self.faults

    @property
    def candidates(self) -> int:
        if isinstance(self.arm.action, Collect) and self.arm.condition == ir.TRUE:
            return self.hits - self.undecided
        return int(self.counters.candidates) + self.matched

    @property
    def rejected(self) -> int:
        return self.hits - self.candidates - self.undecided

    @property
    def lost(self) -> int:
        """Candidates whose record was lost because the ring was full."""
        return int(self.counters.lost) + self.lost_waiting


@dataclass(frozen=True, slots=True)
class Hit:
    """A task stopped at a site for its supervisor.

    Its registers are set so that it executes the site's instruction when resumed; `registers`
    says what they are for the user: rip is the site.
    """

    site: Site
    outcome: Outcome
    registers: Sequence[int]
    hit: int
    """Number of the hit.  If there was one task only when the site was armed, and its condition
    rejects some, others may have added to it."""


@dataclass(frozen=True, slots=True)
class RingFull:
    """A task waits for room: it goes on, and looks again, when resumed."""

    site: Site


def supports(condition: ir.Expr, info: object = None) -> str | None:
    """Why a condition can't be decided in-process; None if it can.

    Whether the *site* can be patched turns out when it is armed: see `InProcess.arm`.
    """
    del info
    if not _has_lahf():
        return "this processor has no lahf in 64-bit mode"
    try:
        build(condition, Stop(), site=0, site_id=0, counters=Counters(bytearray(64), 0, 0))
    except TooComplex as error:
        return str(error)
    except ValueError as error:
        return str(error)
    return None


class InProcess:
    """All in-process sites of an address space.

    `arm`, `disarm`, `several_tasks` and `close` need the target stopped, as `Target` says, and
    every stop reported so far passed to `trap`.
    """

    def __init__(
        self, target: Target, patcher: Patcher | None = None, *, ring_size: int = DEFAULT_SIZE
    ) -> None:
        self.target = target
        self.patcher = Patcher(target) if patcher is None else patcher
        self.sites: dict[int, Site] = {}
        """By address."""
        self.by_number: dict[int, Site] = {}
        """All there ever were, by what records call them."""
        self.rings: list[Ring] = []
        self._by_stub: dict[int, Site] = {}
        self._aside: list[tuple[Site, Record]] = []
        self._waiting: dict[int, tuple[int, float]] = {}
        self._ring_size = ring_size
        self._pages = CounterPages(target, self.patcher.arenas)
        self._locked = len(list(target.threads())) > 1
        self._bases = _executes_rdfsbase(target.pid)
        self._next = 1

    def arm(self, wanted: Iterable[Arm]) -> dict[int, Site | str]:
        """Arms sites; for each address the site, or why it can't be decided in-process (nothing
        is changed there then).  Many at once cost less than one by one.

        Raises CannotPatch if an earlier site nearby got lost over it, for want of memory.
        """
        outcome: dict[int, Site | str] = {}
        made: dict[int, tuple[Arm, Stub, Counters, int]] = {}
        for arm in wanted:
            why = self._refusal(arm)
            if why is not None:
                outcome[arm.address] = why
                continue
            try:
                counters = self._pages.take(arm.address)
                stub = self._stub(arm, counters)
            except (OSError, TooComplex) as error:
                outcome[arm.address] = str(error)
                continue
            made[arm.address] = (arm, stub, counters, self._next)
            self._next += 1
        requests = [
            Request(a, stub, arm.function, breakpoint=False)
            for a, (arm, stub, _, _) in made.items()
        ]
        patched = self._update(requests, [])
        for address, (arm, stub, counters, number) in made.items():
            patch = patched[address]
            if isinstance(patch, CannotPatch):
                outcome[address] = patch.why
                self._pages.give_back(counters)
                continue
            site = Site(number, arm, counters, stub, patch)
            self.sites[address] = self.by_number[number] = self._by_stub[id(stub)] = site
            outcome[address] = site
        return outcome

    def disarm(self, addresses: Iterable[int]) -> None:
        """Takes sites away; their counters keep their values.  Raises KeyError."""
        remove = list(addresses)
        if not remove:
            return
        self._update([], remove)
        for address in remove:
            site = self.sites.pop(address)
            # A copy: the shared ones may serve another site.
            memory = bytearray(site.counters.memory[site.counters.offset :][:64])
            site.counters = Counters(memory, 0, site.counters.address)

    def several_tasks(self, several: bool) -> None:
        """Whether more than one task may run the stubs from now on: they lock the bus only then.

        To be called at the second thread's creation, before it runs; also for a fork, whose
        counters are the same.
        """
        if several == self._locked:
            return
        self._locked = several
        for site in self.sites.values():
            site.stub.locked = several
            byte = bytes((LOCK if several else NO_LOCK,))
            for offset in site.stub.locks:
                self.target.write(site.patch.stub + offset, byte)

    def trap(self, tid: int, trap: Trap) -> Hit | RingFull | None:
        """What a trap that `Patcher.resolve` gave means; None if it needs nobody (STRAY: resume
        the task; DISPLACED: deliver the signal).  The signal is not to be delivered else."""
        patch = trap.patch
        if trap.what is Happened.SITE:
            return self._decide(tid, patch)
        if trap.what is not Happened.BODY:
            return None
        stub = patch.request.body
        assert isinstance(stub, Stub), "bodies of this evaluator are stubs"
        site = self._by_stub[id(stub)]
        registers = self.target.get_registers(tid)
        point = stub.points.get(trap.offset)
        if point is Point.RING_FULL and not self._blocked(tid, stub):
            return RingFull(site)
        before = stub.view(trap.offset, registers, self.target)
        if point is Point.RING_FULL:
            site.lost_waiting += 1
            before[_RIP] = patch.resume if patch.active else patch.address
            self.target.set_registers(tid, before)
            return None
        if point is None:
            site.faults += 1
            if not stub.counted(trap.offset):
                site.uncounted += 1
        outcome = Outcome.MATCH if point is Point.MATCH else Outcome.UNDECIDED
        hit = stub.hit(trap.offset, registers, self.target) or site.hits
        before[_RIP] = patch.resume if patch.active else patch.address
        self.target.set_registers(tid, before)
        before[_RIP] = patch.address
        return Hit(site, outcome, before, hit)

    def before_signal(self, tid: int) -> None:
        """To be called when a signal is about to be delivered to a task.

        A task that holds a place in the ring finishes its record first: a handler that passes
        a site would wait for ever for room behind it.
        """
        registers = self.target.get_registers(tid)
        found = self.patcher.body_at(registers[_RIP])
        if found is None:
            return
        patch, stub, offset = found
        assert isinstance(stub, Stub), "bodies of this evaluator are stubs"
        after = stub.settle(offset, registers, self.target)
        if after is not None:
            after[_RIP] = patch.resume if patch.active else patch.address
            self.target.set_registers(tid, after)

    def _decide(self, tid: int, patch: Patch) -> Hit | None:
        """A hit of a site that lost its jump to a neighbour: decided here, as the stub would."""
        site = self.sites[patch.address]
        registers = list(self.target.get_registers(tid))
        site.uncounted += 1
        condition, action = site.arm.condition, site.arm.action
        values: list[int] = []
        try:
            if reference.value(condition, registers, self.target.read, site.hits):
                outcome = Outcome.MATCH
                if isinstance(action, Collect):
                    values = [
                        reference.value(v, registers, self.target.read, site.hits)
                        for v in action.values
                    ]
            else:
                outcome = Outcome.REJECT
        except reference.Undecided:
            outcome = Outcome.UNDECIDED
            site.faults += 1
        going = list(registers)
        going[_RIP] = patch.resume
        self.target.set_registers(tid, going)
        if outcome is Outcome.REJECT:
            return None
        if outcome is Outcome.MATCH:
            site.matched += 1
            if isinstance(action, Count) and site.candidates != action.stop_at:
                return None
            if isinstance(action, Collect):
                thread = registers[_FS_BASE]
                self._aside.append((site, Record(site.number, thread, site.hits, tuple(values))))
                return None
        return Hit(site, outcome, registers, site.hits)

    def _blocked(self, tid: int, stub: Stub) -> bool:
        """Whether a task waits for room that will never come: behind a record that it has
        itself begun, in code that a signal handler interrupted (see `before_signal`)."""
        ring = next(r for r in self.rings if r.addresses == stub.ring)
        now = time.monotonic()
        tail, since = self._waiting.get(tid, (-1, now))
        if ring.tail != tail:
            since = now
        self._waiting[tid] = (ring.tail, since)
        return now - since > _PATIENCE

    def records(self) -> list[tuple[Site, Record]]:
        """What was collected since, in order of each ring."""
        found = self.aside()
        for ring in self.rings:
            found += [(self.by_number[r.site], r) for r in ring.read()]
        return found

    def aside(self) -> list[tuple[Site, Record]]:
        """What was collected since by sites that had lost their jumps: not in a ring."""
        found, self._aside = self._aside, []
        return found

    def close(self) -> bool:
        """Disarms everything and unmaps what it can; see `Patcher.release`."""
        self.disarm(list(self.sites))
        if not self.patcher.release():
            return False
        self._pages.unmap()
        for ring in self.rings:
            ring.close()
        self.rings.clear()
        return True

    def _update(self, add: list[Request], remove: list[int]) -> dict[int, Patch | CannotPatch]:
        outcome = self.patcher.update(add, remove)
        wanted = {request.address for request in add}
        for address, made in outcome.items():
            if address not in wanted and isinstance(made, CannotPatch):
                # Not even a breakpoint, for want of memory near the code.
                self.sites.pop(address, None)
                raise made
        return outcome

    def _refusal(self, arm: Arm) -> str | None:
        if arm.address in self.sites:
            return "there is a site already"
        if not _has_lahf():
            return "this processor has no lahf in 64-bit mode"
        expressions = [arm.condition]
        if isinstance(arm.action, Collect):
            expressions += arm.action.values
        if not self._bases and any(ir.registers(e) & _BASES for e in expressions):
            return "the kernel does not let programs execute rdfsbase"
        return None

    def _stub(self, arm: Arm, counters: Counters) -> Stub:
        ring = None
        if isinstance(arm.action, Collect):
            ring = self._ring_near(arm.address)
            ring.expect(self._next, len(arm.action.values))
        stub = build(
            arm.condition,
            arm.action,
            site=arm.address,
            site_id=self._next,
            counters=counters,
            ring=ring.addresses if ring else None,
            red_zone=arm.red_zone,
            threads_have_bases=self._bases,
            numbered=isinstance(arm.action, Stop) and (self._locked or arm.condition == ir.TRUE),
        )
        if isinstance(arm.action, Count):
            counters.stop_at = arm.action.stop_at
        stub.locked = self._locked
        return stub

    def _ring_near(self, address: int) -> Ring:
        for ring in self.rings:
            if abs(ring.addresses.records - address) < 1 << 30:
                return ring
        self.patcher.arenas.refresh()
        ring = Ring(self.target, self.patcher.arenas, address, self._ring_size)
        self.rings.append(ring)
        return ring


def _has_lahf() -> bool:
    global _lahf
    if _lahf is None:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
            _lahf = any(" lahf_lm" in line for line in f if line.startswith("flags"))
    return _lahf


_lahf: bool | None = None


def _executes_rdfsbase(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/auxv", "rb") as f:
            data = f.read()
    except OSError:
        return False
    return any(
        kind == _AT_HWCAP2 and bool(value & _HWCAP2_FSGSBASE)
        for kind, value in struct.iter_unpack("<QQ", data)
    )
