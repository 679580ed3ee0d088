"""`relive dump`: print the events of a recording."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from relive.cli import store
from relive.cli.options import Arguments, Command, Option, whole
from relive.cli.ranges import is_range, merge, parse_range
from relive.cli.tell import flush, put, tell
from relive.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relive.cli.eventtext import Describer
    from relive.trace.events import Event
    from relive.trace.reader import Recording


class Dump(Command):
    name = "dump"
    operands = "[RECORDING] [RANGE...]"
    about = """\
Print the events of RECORDING (the latest one if none is named), all of them or
those in the ranges: an event's number (127), a range (1000-5000, 1000-), or
`end`, the last event.  A line shows the event's number, its task, seconds since
the recording began, and what happened, calls as strace prints them."""
    options = (
        Option("-t", "--task", value="N", repeat=True, help="only events of this task"),
        Option("-c", "--call", value="NAME,...", repeat=True, help="only these system calls"),
        Option("-k", "--kind", value="KIND,...", repeat=True, help="only events of these kinds"),
        Option("-w", "--wide", help="cut nothing short"),
        Option("-r", "--raw", help="print registers and memory below each event"),
        Option("--json", help="print one JSON object a line, with all there is"),
    )

    def run(self, args: Arguments) -> int:
        operands = list(args.positional)
        name = None
        if operands and (
            not is_range(operands[0]) or store.known(operands[0]) or os.path.isfile(operands[0])
        ):
            name = operands.pop(0)
        wanted = chosen(args)

        from relive.cli.eventtext import Describer
        from relive.cli.packed import opened
        from relive.trace.reader import Recording

        describer = Describer(wide=args.has("wide"))
        show = shower(args, describer)

        with opened(name) as path, Recording(path) as recording:
            ranges = [parse_range(text, recording.n_events) for text in operands]
            for event in select(recording, merge(ranges), bool(operands)):
                if wanted(event):
                    put(show(event))
                else:
                    describer.see(event)
            if recording.ended_early:
                flush()
                tell(f"{recording.path}: {recording.ended_early}")
                return 1 if recording.damaged else 0
        return 0


def select(recording: Recording, ranges: list[tuple[int, int]], limited: bool) -> Iterator[Event]:
    """The events in the ranges; all of them when not limited."""
    if not limited:
        yield from recording.events()
        return
    for first, last in ranges:
        if first >= recording.n_events:
            raise UsageError(
                f"there is no event {first}", f"the last one is {recording.n_events - 1}"
            )
        for event in recording.events(first):
            if event.number > last:
                break
            yield event


def chosen(args: Arguments) -> Callable[[Event], bool]:
    """What the filters let through."""
    from relive.cli.eventtext import CALLS
    from relive.syscalls.table import by_name
    from relive.trace.kinds import Kind

    tasks = {whole(text, "--task") for text in args.all("task")}
    calls: set[int] = set()
    for name in split(args.all("call")):
        if name not in by_name:
            raise UsageError(f"no system call is called '{name}'")
        calls.add(by_name[name].nr)
    kinds: set[Kind] = set()
    for name in split(args.all("kind")):
        if name.upper() not in Kind.__members__:
            names = ", ".join(kind.lower() for kind in Kind.__members__)
            raise UsageError(f"no kind of event is called '{name}'", f"there are {names}")
        kinds.add(Kind[name.upper()])
    if calls and not kinds:
        kinds = set(CALLS)

    def wanted(event: Event) -> bool:
        return (
            (not tasks or event.task in tasks)
            and (not calls or (event.nr in calls and event.kind in CALLS))
            and (not kinds or event.kind in kinds)
        )

    return wanted


def split(values: list[str]) -> list[str]:
    """The names in lists with commas."""
    return [name for value in values for name in value.split(",") if name]


def shower(args: Arguments, describer: Describer) -> Callable[[Event], str]:
    """What prints an event."""
    from relive.cli.eventtext import as_json, sections

    if args.has("json"):
        return lambda event: json.dumps(as_json(event)) + "\n"
    raw = args.has("raw")

    def show(event: Event) -> str:
        seconds, thousandths = divmod(event.time_ms, 1000)
        when = f"{seconds:>5}.{thousandths:03}"
        line = f"{event.number:>8} {event.task:>4} {when} {describer.describe(event)}\n"
        return line + sections(event) if raw else line

    return show


COMMAND = Dump()
