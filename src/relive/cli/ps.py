"""`relive ps`: list the processes in a recording."""

from __future__ import annotations

import os
from pathlib import Path

from relive.cli.options import Arguments, Command
from relive.cli.processes import Process, processes
from relive.cli.progress import Progress
from relive.cli.tell import put, tell
from relive.cli.text import command, table


class Ps(Command):
    name = "ps"
    operands = "[RECORDING]"
    about = """\
List the processes in a recording in the order they began: process id, parent's
process id, exit status (negative: the signal that killed it; -: it had not
ended), command."""
    most = 1

    def run(self, args: Arguments) -> int:
        from relive.cli.packed import opened

        with opened(args.positional[0] if args.positional else None) as path:
            rows = [row(process) for process in read(path)]
        put(table([("PID", "PPID", "EXIT", "CMD"), *rows], "111"))
        return 0


def read(path: Path) -> list[Process]:
    """The processes of a recording; says on stderr when the recording ends early."""
    from relive.trace.reader import Recording

    with Recording(path) as recording:
        with Progress("reading", recording.n_events, unit="events") as progress:
            found = processes(recording.events(), progress)
        if recording.ended_early:
            tell(f"{path}: {recording.ended_early}")
    return found


def row(process: Process) -> tuple[str, ...]:
    """The columns, as text."""
    if process.status is None:
        status = "-"
    elif os.WIFSIGNALED(process.status):
        status = str(-os.WTERMSIG(process.status))
    else:
        status = str(os.WEXITSTATUS(process.status))
    parent = "--" if process.parent is None else str(process.parent.pid)
    text = command(process.argv) if process.argv is not None else "?"
    return str(process.pid), parent, status, text if process.execed else f"(forked) {text}"


COMMAND = Ps()
