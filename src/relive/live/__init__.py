"""Live programs: breakpoints with conditions, on a process that runs or that relive starts.

    from relive import live

    with live.Session() as session:
        process = session.attach(pid)             # or session.start(["program", "argument"])
        site = session.add("libc:malloc", "rdi > 1 << 20", live.collect("rdi", "u64[rsp]"))
        for event in session.events(timeout=10):
            if isinstance(event, live.Hit):
                ...                               # the thread is stopped until the next event
        print(site.counts(), session.records())

A session belongs to the thread that made it.  When it is closed, the programs are as they were.
docs/live.md tells what each evaluator does, and what happens when relive is killed.
"""

from __future__ import annotations

from relive.live.errors import CannotArm, CannotAttach, LiveError
from relive.live.events import Event, Executed, Exited, Failed, Forked, Hit, Resolved
from relive.live.facts import Block, Counts, Record
from relive.live.process import Process
from relive.live.request import (
    ORDER,
    Access,
    Action,
    EvaluatorName,
    Request,
    collect,
    count,
    stop,
)
from relive.live.session import Session
from relive.live.site import Armed, Site

__all__ = [
    "ORDER",
    "Access",
    "Action",
    "Armed",
    "Block",
    "CannotArm",
    "CannotAttach",
    "Counts",
    "EvaluatorName",
    "Event",
    "Executed",
    "Exited",
    "Failed",
    "Forked",
    "Hit",
    "LiveError",
    "Process",
    "Record",
    "Request",
    "Resolved",
    "Session",
    "Site",
    "collect",
    "count",
    "stop",
]
