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

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from relive.arch import x86_64
from relive.conditions import ir, reference

if TYPE_CHECKING:
    from relive.live.process import Process
    from relive.live.site import Armed

_RSP: Final = x86_64.BY_NAME["rsp"].index

Values = tuple[int | None, ...]


@dataclass(slots=True)
class _Call:
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

    def expect(
        self, armed: Armed, tid: int, hit: int, registers: Sequence[int], values: Values
    ) -> None:
        """A thread is stopped at a candidate, at the first instruction of a function."""
        stack = registers[_RSP]
        self.entered(armed, tid, stack, tid, hit, values)
        process = armed.process
        key = (process.space, tid, stack)
        call = self._calls[key]
        try:
            call.point = int.from_bytes(process.read(stack, 8), "little")
        except OSError:
            return
        place = (process.space, call.point)
        if place not in self._points:
            disarm = self._arm(process, call.point)
            if disarm is None:
                return
            self._points[place] = _Point(disarm)
        self._points[place].calls.add(key)

    def at_point(self, process: Process, tid: int, registers: Sequence[int]) -> None:
        """A thread is stopped where a call returned to."""
        key = (process.space, tid, registers[_RSP] - 8 & ir.WORD_MASK)
        call = self._calls.pop(key, None)
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
            if not point.calls:
                del self._points[key[0], call.point]
                point.disarm()

    def forget(self, process: Process, armed: Armed | None = None) -> None:
        """The calls of a process, or of a site in it, will not be seen to return."""
        for key, call in list(self._calls.items()):
            if key[0] == process.space and armed in (None, call.armed):
                del self._calls[key]
                self._finish(key, call, None)
