"""`relive ls`: list recordings."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from relive.cli import store
from relive.cli.options import Arguments, Command, Option
from relive.cli.progress import human
from relive.cli.tell import put, tell
from relive.cli.text import clip, command, plain, table
from relive.errors import RecordingError


class Row:
    """A recording as `ls` shows it.

    started: seconds since the epoch.  size: bytes.  state: "sound", "incomplete",
    "recording" (its recorder is at work) or "unreadable".  argv: the command, or None.
    """

    def __init__(self, path: Path) -> None:
        from relive.trace.reader import Recording

        self.path = path
        self.started = marker_time(path)
        self.size = store.size(path)
        self.state = store.state(path) or "unreadable"
        self.argv: list[str] | None = None
        try:
            with Recording(path) as recording:
                if not recording.complete and recording.live:
                    self.state = "recording"
                time_ = recording.meta.get("time")
                if isinstance(time_, (int, float)) and 0 < time_ < 1e11:
                    self.started = time_
                argv = recording.meta.get("argv")
                if isinstance(argv, list):
                    self.argv = [str(part) for part in argv]
        except RecordingError:
            if self.state == "sound":
                self.state = "unreadable"

    def cells(self) -> tuple[str, ...]:
        """The columns, as text."""
        date = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.started))
        what = "?" if self.argv is None else command(self.argv)
        return plain(self.path.name), date, human(self.size), self.state, what


def marker_time(path: Path) -> float:
    """When the recording began."""
    for name in store.STATES:
        try:
            return os.lstat(path / name).st_mtime
        except OSError:
            continue
    return 0.0


class Ls(Command):
    name = "ls"
    about = """\
List the recordings: name, when it was made, size, state, command.  The state is
`sound`; or `incomplete` when the recorder was stopped: what was recorded
until then replays."""
    options = (
        Option("-t", "--sort-time", help="newest first"),
        Option("-S", "--sort-size", help="largest first"),
        Option("-r", "--reverse", help="in reverse"),
        Option("-1", "--names", help="only the names"),
        Option("--json", help="print JSON: a list of objects"),
    )
    most = 0

    def run(self, args: Arguments) -> int:
        paths = store.listing()
        if args.has("sort-time"):
            paths.sort(key=marker_time, reverse=True)
        elif args.has("sort-size"):
            paths.sort(key=store.size, reverse=True)
        if args.has("reverse"):
            paths.reverse()
        if args.has("names"):
            put("".join(plain(path.name) + "\n" for path in paths))
            return 0
        rows = [Row(path) for path in paths]
        if args.has("json"):
            put(json.dumps([as_json(row) for row in rows], indent=2) + "\n")
            return 0
        if not rows:
            tell(f"no recordings in {store.root()}")
            return 0
        shown = table(
            [("NAME", "DATE", "SIZE", "STATE", "COMMAND"), *(r.cells() for r in rows)], "001"
        )
        if sys.stdout is not None and sys.stdout.isatty():
            width = os.get_terminal_size(1).columns
            shown = "".join(clip(line, width) + "\n" for line in shown.splitlines())
        put(shown)
        return 0


def as_json(row: Row) -> dict[str, object]:
    """A recording as `ls --json` shows it."""
    return {
        "name": row.path.name,
        "path": str(row.path),
        "started": row.started,
        "size": row.size,
        "state": row.state,
        "argv": row.argv,
    }


COMMAND = Ls()
