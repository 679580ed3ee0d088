"""All system calls of x86-64, by name and by number.

A number that is not here is unknown: the recorder refuses it with ENOSYS
and says so once.  That includes the x32 numbers (512 and up).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from relive.syscalls import (
    clocks,
    fcntl,
    files,
    futex,
    ioctl,
    ipc,
    memory,
    network,
    poll,
    prctl,
    process,
    refused,
    scheduling,
    security,
    signals,
)
from relive.syscalls.model import MAX_NR, Call, Facts

_FAMILIES: Final = (
    clocks,
    fcntl,
    files,
    futex,
    ioctl,
    ipc,
    memory,
    network,
    poll,
    prctl,
    process,
    refused,
    scheduling,
    security,
    signals,
)


def _collect() -> dict[int, Call]:
    found: dict[int, Call] = {}
    names: set[str] = set()
    for family in _FAMILIES:
        for one in family.CALLS:
            if not 0 <= one.nr < MAX_NR:
                raise ValueError(f"{one.name}: number {one.nr} has no room in the table")
            if one.nr in found:
                raise ValueError(f"{one.nr} is both {found[one.nr].name} and {one.name}")
            if one.name in names:
                raise ValueError(f"{one.name} is described twice")
            found[one.nr] = one
            names.add(one.name)
    return dict(sorted(found.items()))


by_number: Final[dict[int, Call]] = _collect()
"""Every described call, in the order of the numbers."""

by_name: Final[dict[str, Call]] = {one.name: one for one in by_number.values()}
"""Every described call by its name in ``asm/unistd_64.h``."""


def name_of(nr: int) -> str:
    """The call's name, or ``syscall_512`` for an unknown number."""
    found = by_number.get(nr)
    return found.name if found else f"syscall_{nr}"


def call_for(nr: int, args: Sequence[int]) -> Facts | None:
    """The facts for a call with these six arguments (unsigned 64-bit), variant chosen.

    The twin of ``call_lookup`` in the C core. None for an unknown number.
    """
    found = by_number.get(nr)
    if found is None:
        return None
    return found.facts_for((*args, 0, 0, 0, 0, 0, 0)[:6])
