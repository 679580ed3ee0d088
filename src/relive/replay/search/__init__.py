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

from relive.replay.search.choose import find
from relive.replay.search.result import CannotSearch, Closest, Found, Overshot, Word
from relive.replay.search.searching import EVALUATORS, Searching

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
