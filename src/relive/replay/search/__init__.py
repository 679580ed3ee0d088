"""Finding asynchronous events again by the program's own state.

    choose      `find`: which evaluator decides the hits
    evaluator   what each evaluator does, and the loop that is the same for all
    landmark    what is looked for, and what is known of it so far
    result      what a search ends with
    inprocess   hits decided by a stub: body (its code), stores, sites, guard, target
    kernel      hits decided in the kernel: hardware breakpoint or uprobe, and BPF
    supervisor  hits decided from outside
    counting    hits counted in the kernel, to a position that is known
    searching   what a replay keeps for its searches

A hit with the recorded registers is a candidate: it stops, and the whole landmark (memory sample
and extended state) is compared.  What differs is added to the condition (refinement), and the
search goes on from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relive.replay.search.result import CannotSearch, Closest, Found, Overshot, Word
from relive.replay.search.searching import EVALUATORS, Searching

if TYPE_CHECKING:
    from collections.abc import Callable

    from relive.replay.session import Session
    from relive.replay.tasks import Task


def find(
    session: Session,
    task: Task,
    skip: int = 0,
    passed: Callable[[int], object] | None = None,
) -> Found:
    """Brings the task to the landmark of the event at hand.

    skip: so many candidates that are equal in all are passed over: they were arrived at before,
    and what came later showed that they were not it.  passed: called with the number of each one's
    hit while the task stands there.
    Raises Overshot, OSError.
    """
    from relive.replay.search import choose  # with all of code patching: not every replay needs it

    return choose.find(session, task, skip, passed)


__all__ = [
    "EVALUATORS",
    "CannotSearch",
    "Closest",
    "Found",
    "Overshot",
    "Searching",
    "Word",
    "find",
]
