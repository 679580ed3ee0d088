"""The command line: `relive COMMAND ...`, one module a command.

Nothing is imported before it is known which command runs, because the start of
`relive record` is part of what recording costs.  That is also why options are
parsed by `relive.cli.options` and not by argparse.
"""

from __future__ import annotations

import os
import sys

from relive.cli.tell import drop_stdout, flush, put, tell
from relive.errors import ReliveError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relive.cli.options import Command

#: Command name, what it does.  Each lives in relive.cli.NAME as COMMAND.
COMMANDS = {
    "record": "record a program and everything it starts",
    "replay": "replay a recording",
    "ps": "list the processes in a recording",
    "ls": "list recordings",
    "rm": "remove recordings",
    "dump": "print the events of a recording",
    "break": "watch places of a live program, with conditions",
    "traceinfo": "describe a recording as JSON",
    "pack": "make a recording self-contained, or one file of it",
    "doctor": "say what this machine allows and what relive will use",
}


def overview() -> str:
    """The text of `relive --help`."""
    lines = [
        "usage: relive COMMAND [OPTIONS] [ARGUMENTS]",
        "       relive PROGRAM [ARGUMENTS]     same as: relive record PROGRAM [ARGUMENTS]",
        "       relive RECORDING               same as: relive replay RECORDING",
        "",
        "commands:",
        *(f"  {name:<10} {summary}" for name, summary in COMMANDS.items()),
        "",
        "`relive COMMAND --help` tells about one command.",
        "Recordings are kept under $RELIVE_TRACE_DIR, else $XDG_DATA_HOME/relive,",
        "else ~/.local/share/relive.",
    ]
    return "\n".join(lines) + "\n"


def load(name: str) -> Command:
    """The command called `name`, which must be in COMMANDS."""
    from importlib import import_module

    module = "break_" if name == "break" else name  # a keyword is no module's name
    command: Command = import_module(f"relive.cli.{module}").COMMAND
    return command


def choose(argv: list[str]) -> tuple[str, list[str]]:
    """Which command `argv` (without the program's own name) means, and its arguments.

    Without a command a directory (or a packed recording) is replayed and
    anything else is recorded.
    """
    first = argv[0]
    if first in COMMANDS:
        return first, argv[1:]
    if first.startswith("-"):
        raise UsageError(f"no command before option {first}", "see `relive --help`")
    if os.path.isdir(first):
        return "replay", argv
    if os.path.isfile(first):
        from relive.cli.packed import is_packed

        if is_packed(first):
            return "replay", argv
    return "record", argv


def main(argv: list[str] | None = None) -> int:
    """Entry point.  Returns the exit status; tells errors on stderr in one line."""
    if argv is None:
        argv = sys.argv[1:]
    try:
        try:
            return run(argv)
        finally:
            flush()
    except ReliveError as error:
        return complain(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output left (`relive dump | head`).
        drop_stdout()
        return 141


def complain(error: ReliveError) -> int:
    """Print an error as `relive: error: what; what to do`; returns the exit status for it."""
    tell(f"error: {error}")
    return error.status


def run(argv: list[str]) -> int:
    if not argv:
        sys.stderr.write(overview())
        return UsageError.status
    if argv[0] in ("--help", "-h", "help"):
        if len(argv) > 1 and argv[1] in COMMANDS:
            argv = [argv[1], "--help"]
        else:
            put(overview())
            return 0
    if argv[0] in ("--version", "-V"):
        from relive import __version__

        put(f"relive {__version__}\n")
        return 0
    name, rest = choose(argv)
    return load(name).main(rest)
