"""Sites of the supervisor evaluator."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from relive.conditions import ir, supervisor
from relive.live import slots
from relive.live.facts import Counts
from relive.live.request import Access, EvaluatorName

if TYPE_CHECKING:
    from relive.live.process import Process
    from relive.live.site import Wanted

# enum site_kind of src/core/live.h
CODE: Final = 0
HARDWARE: Final = 1
WRITE: Final = 2
ACCESS: Final = 3
_KINDS: Final = {Access.EXECUTE: CODE, Access.WRITE: WRITE, Access.ACCESS: ACCESS}


class Supervised:
    """A software breakpoint, or a debug register for data.

    number: what the C core calls it.
    """

    name: EvaluatorName = "supervisor"

    def __init__(self, process: Process, number: int) -> None:
        self.number = number
        self._process = process
        self._last: Counts | None = None

    def counts(self) -> Counts:
        return self._last or Counts(*self._process.core.counts(self.number))

    def disarm(self) -> None:
        if self._last is None:
            self._last = Counts(*self._process.core.disarm(self.number))


def arm(
    process: Process,
    wanted: Wanted,
    *,
    emulate: bool = True,
    out_of_line: bool = True,
    kind: int | None = None,
) -> Supervised | str:
    """Arm a site; or why it can't be.  The session is paused.

    emulate, out_of_line: allow what avoids single-steps.  kind: HARDWARE for a debug register
    in place of an int3.
    """
    request = wanted.request
    why = supervisor.supports(wanted.decided, wanted.appended)
    if why:
        return why
    kind = _KINDS[request.access] if kind is None else kind
    slot = slots.NO_SLOT
    emulate = emulate and not process.shadow_stack()
    if kind == CODE:
        over = _patched_over(process, wanted.address)
        if over is not None:
            return f"its bytes belong to the in-process site at {over:#x}"
        if out_of_line and not (emulate and _emulated(process, wanted.address)):
            slot = process.slot(wanted.address)
    elif kind != HARDWARE and wanted.address % request.size:
        return f"{request.size} bytes are watched at a multiple of {request.size} only"
    when = None if wanted.decided == ir.TRUE else supervisor.lower(wanted.decided)
    values = [supervisor.lower(value) for value in wanted.appended]
    try:
        number = process.core.arm(
            process.space, kind, wanted.address, request.size, when, wanted.stops, wanted.stop_at,
            values, emulate, *slot,
        )  # fmt: skip
    except OSError as error:
        return _explain(error, kind)
    return Supervised(process, number)


def internal(process: Process, address: int) -> int | None:
    """A breakpoint of relive's own, at which threads stop; its number, None when there can't be
    one.  The session is paused."""
    kinds = [CODE, HARDWARE]
    if _patched_over(process, address) is not None:
        kinds = [HARDWARE]  # its bytes belong to a jump, which is behind it or at it
    for kind in kinds:
        emulate = not process.shadow_stack()
        slot = slots.NO_SLOT
        if kind == CODE and not (emulate and _emulated(process, address)):
            slot = process.slot(address)
        try:
            return process.core.arm(
                process.space, kind, address, 1, None, True, 1, (), emulate, *slot
            )
        except OSError:
            continue
    return None


def _emulated(process: Process, address: int) -> bool:
    from relive import _core

    try:
        code = process.read_code(address)
    except OSError:
        return False
    return _core.emulated_length(code) > 0


def _patched_over(process: Process, address: int) -> int | None:
    """The in-process site whose patch relies on the byte at an address."""
    if not process.has_patcher:
        return None
    users = process.patcher.users(address)
    return users[0].address if users else None


def _explain(error: OSError, kind: int) -> str:
    match error.errno:
        case errno.ENOSPC if kind != CODE:
            return "all 4 debug registers are in use"
        case errno.ENOSPC:
            return "too many sites there"
        case errno.EFAULT:
            return "no memory can be read there"
        case errno.EBUSY:
            return "there is a breakpoint already: the program's own, or another debugger's"
        case errno.EINVAL if kind != CODE:
            return "the processor can't watch that address"
    return error.strerror or str(error)
