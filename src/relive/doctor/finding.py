"""A probe and what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

#: yes: works.  no: does not.  note: neither good nor bad, but a person should know.
Status = Literal["yes", "no", "note"]


class Finding(NamedTuple):
    """What a probe found.

    detail: what happened when it was tried.
    more: what a person can do to get more; "" for nothing.
    """

    status: Status
    detail: str
    more: str = ""


class Probe(NamedTuple):
    """A facility and how to try it.

    name: short, as in the report.  use: what relive does with it, or does without it.
    run: tries it; runs in a child process that it may ruin.  An OSError means "no".
    required: relive cannot record or replay without it.
    """

    name: str
    use: str
    run: Callable[[], Finding]
    required: bool = False
