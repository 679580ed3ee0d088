"""What sites collect when their functions return.

In one of two ways.  In the process: the function's first instruction and each of its returns
have a stub that collects, and what they left is put together here, by thread and stack pointer
(which is the same at both).  Nothing stops.  That takes a function whose returns are all known.

Else the thread stops at each call, and after a candidate again at the address it returns to.

A call that never returns (longjmp, an exception, the end of the program) has no values then.
So that no return is taken for such a call's, every call is seen, also those that the condition
rejects: the next one at the same place in the stack says that the one before is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from relive.arch import x86_64
from relive.conditions import ir, reference
from relive.conditions.ir import Outcome

if TYPE_CHECKING:
    from relive.live.process import Process
    from relive.live.site import Armed

_RSP: Final = x86_64.BY_NAME["rsp"].index
_RIP: Final = x86_64.BY_NAME["rip"].index
_PATIENCE: Final = 32
"""Hits for nothing of a breakpoint at a return address, until it is taken away."""

Values: TypeAlias = "tuple[int | None, ...]"
Row: TypeAlias = "tuple[Armed, int, int, Values]"
"""Whose, thread, hit, values."""


class _Call(NamedTuple):
    armed: Armed
    tid: int
    hit: int
    values: Values
    point: int = 0
    """Where it returns to, when a breakpoint waits there."""


@dataclass(slots=True)
class _Point:
    disarm: Callable[[], None]
    calls: set[tuple[int, int, int]] = field(default_factory=set)
    idle: int = 0
    """Hits in a row that were no return of a call that is waited for."""


class Returns:
    """All calls of a session that have not returned yet.

    keep: where finished records go.  arm: makes a breakpoint at an address of a process, which
    calls `at_point`; gives what takes it away, or None when there can't be one.
    """

    def __init__(
        self,
        keep: Callable[[Armed, int, int, Values], None],
        arm: Callable[[Process, int], Callable[[], None] | None],
    ) -> None:
        self._keep = keep
        self._arm = arm
        self._calls: dict[tuple[int, int, int], _Call] = {}
        self._points: dict[tuple[int, int], _Point] = {}

    def entered(
        self, armed: Armed, thread: int, stack: int, tid: int, hit: int, values: Values
    ) -> None:
        """A call.  thread: what tells it from others.  stack: where its return address is."""
        self.passed(armed.process, thread, stack)
        self._calls[armed.process.space, thread, stack] = _Call(armed, tid, hit, values)

    def passed(self, process: Process, thread: int, stack: int) -> None:
        """A call that nobody asked for: another one at its place is over."""
        key = (process.space, thread, stack)
        before = self._calls.pop(key, None)
        if before is not None:
            self._finish(key, before, None)

    def returned(self, process: Process, thread: int, stack: int, values: Values) -> None:
        """A return; of a call that was made before the site was armed if we do not know it."""
        key = (process.space, thread, stack)
        call = self._calls.pop(key, None)
        if call is not None:
            self._finish(key, call, values)

    def pair(
        self,
        process: Process,
        owners: Mapping[int, tuple[Armed, bool]],
        rows: Iterable[tuple[int, ...]],
    ) -> list[Row]:
        """What stubs collected, in its order; the finished records.

        owners: by the stub's number: whose it is, and whether it is at a return.
        rows: stub, thread, thread id, hit, values.  The last value is the stack pointer; the first
        one of a call is what the condition says.  Between them may be more than is asked for.
        """
        # A loop over millions: the methods below, written out.
        calls, space = self._calls, process.space
        done: list[Row] = []
        for row in rows:
            armed, at_return = owners[row[0]]
            if not (at_return or armed.collects_returns):
                done.append((armed, row[2], row[3], row[4:]))
                continue
            key = (space, row[1], row[-1])
            before = calls.pop(key, None)
            if before is not None:
                kept = before.armed
                count = len(kept.wanted.at_return)
                values = row[4 : 4 + count] if at_return else (None,) * count
                done.append((kept, before.tid, before.hit, before.values + values))
            if at_return:
                continue
            if row[4]:
                collected = row[5 : 5 + len(armed.wanted.collect)]
                calls[key] = _Call(armed, row[2], row[3], collected)
            else:
                armed.late[Outcome.REJECT] += 1
        return done

    def expect(
        self, armed: Armed, tid: int, hit: int, registers: Sequence[int], values: Values
    ) -> None:
        """A thread is stopped at a candidate, at the first instruction of a function."""
        stack = registers[_RSP]
        process = armed.process
        self.passed(process, tid, stack)
        try:
            point = int.from_bytes(process.read(stack, 8), "little")
        except OSError:
            point = 0
        key = (process.space, tid, stack)
        self._calls[key] = _Call(armed, tid, hit, values, point)
        if not point:
            return
        place = (process.space, point)
        if place not in self._points:
            disarm = self._arm(process, point)
            if disarm is None:
                return
            self._points[place] = _Point(disarm)
        self._points[place].calls.add(key)

    def at_point(self, process: Process, tid: int, registers: Sequence[int]) -> None:
        """A thread is stopped where a call returned to."""
        key = (process.space, tid, registers[_RSP] - 8 & ir.WORD_MASK)
        call = self._calls.pop(key, None)
        place = (process.space, registers[_RIP])
        point = self._points.get(place)
        if point is not None:
            point.idle = 0 if call is not None else point.idle + 1
            if point.idle > _PATIENCE and not point.calls:
                del self._points[place]
                point.disarm()
        if call is None:
            return
        values: list[int | None] = []
        for expr in call.armed.wanted.at_return:
            try:
                values.append(reference.value(expr, registers, process.read, call.hit))
            except reference.Undecided:
                values.append(None)
        self._finish(key, call, tuple(values))

    def _finish(self, key: tuple[int, int, int], call: _Call, values: Values | None) -> None:
        if values is None:
            values = (None,) * len(call.armed.wanted.at_return)
        self._keep(call.armed, call.tid, call.hit, call.values + values)
        point = self._points.get((key[0], call.point))
        if point is not None:
            point.calls.discard(key)

    def forget(self, process: Process, armed: Armed | None = None) -> None:
        """The calls of a process, or of a site in it, will not be seen to return."""
        for key, call in list(self._calls.items()):
            if key[0] == process.space and armed in (None, call.armed):
                del self._calls[key]
                self._finish(key, call, None)
        # Arming and disarming stops all threads, so breakpoints stay as long as they are of use.
        for place, point in list(self._points.items()):
            if place[0] == process.space and not point.calls:
                del self._points[place]
                point.disarm()
