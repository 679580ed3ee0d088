"""Going straight to a position that is known: the hits are only counted."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from relive import _core
from relive.conditions.kernel.counting import MAX_PERIOD, CountingSite, Plan
from relive.conditions.kernel.perf import trap_cookie
from relive.replay.search.landmark import Landmark
from relive.replay.search.result import CannotSearch


def by_period(mark: Landmark, number: int) -> int | None:
    """Counts in the kernel, by perf's sample period: any code, no privilege, 10 µs a hit.

    Brings the task to the hit of that number, from 1, nothing of it executed: None, or the wait
    status of another stop.  Raises CannotSearch, OSError.
    """
    task = mark.task
    if number > MAX_PERIOD:
        raise CannotSearch("no period is that long")
    mark.core.hit_at_once(task.serial, mark.address)
    try:
        site = CountingSite(task.tid, mark.address, Plan(number, None))
    except OSError as e:
        raise CannotSearch(f"no perf breakpoint: {e.strerror or e}") from e
    with site:
        status = mark.core.advance(task.serial)
        stopped = os.WIFSTOPPED(status) and os.WSTOPSIG(status) == signal.SIGTRAP
        if stopped and not status >> 16 and trap_cookie(_core.siginfo(task.tid)) == site.cookie:
            return None
        with suppress(OSError):
            mark.before += site.hits()
    return status
