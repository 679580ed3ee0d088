"""`relive replay`: run a recording again."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from relive.cli.options import Arguments, Command, Option
from relive.cli.progress import Progress
from relive.cli.tell import tell
from relive.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LATER = "debugging a replay comes with the gdb front; `relive replay -a` runs it through"


class Replay(Command):
    name = "replay"
    operands = "[RECORDING]"
    about = """\
Replay RECORDING (a directory, a name that `relive ls` shows, or a file made by
`relive pack -o`; the latest one if none is named).  Every event is verified; a
replay that differs from the recording ends with an error that says where.
With -a the exit status (or killing signal) is the program's."""
    options = (
        Option("-a", "--autopilot", help="run to the end, without a debugger"),
        Option("-q", "--no-redirect-output", help="do not print what the program printed"),
        Option(
            "--stats",
            value="all",
            optional="short",
            help="say on stderr how much was replayed, how fast, and what finding asynchronous"
            " events took (all: of each)",
        ),
        Option("--stats-json", value="FILE", help="write the same, of each, to FILE"),
        Option(
            "--evaluator",
            value="NAME",
            help="who decides the hits of an asynchronous event's place: auto, inprocess, kernel,"
            " uprobe or supervisor",
        ),
        Option(
            "--retries",
            value="N",
            help="how often to go back to another place that fits an asynchronous event when the"
            " replay differs later (1000; 0: never)",
        ),
        Option("-g", "--goto", value="EVENT", help="start debugging there", refused=LATER),
        Option("-p", "--onprocess", value="PID", help="debug that process", refused=LATER),
        Option("-f", "--onfork", value="PID", help="debug from its fork on", refused=LATER),
        Option("-s", "--dbgport", value="PORT", help="wait for a debugger", refused=LATER),
        Option("-d", "--debugger", value="FILE", help="use this debugger", refused=LATER),
        Option("-x", "--gdb-x", value="FILE", help="have the debugger read FILE", refused=LATER),
    )
    most = 1

    def run(self, args: Arguments) -> int:
        if not args.has("autopilot"):
            raise UsageError("replay: no debugger to start", LATER)
        name = args.positional[0] if args.positional else None
        from relive.cli.packed import opened

        with opened(name) as directory:
            status = self.replay(directory, args)
        if status is None:
            return 0

        from relive.cli.record import leave

        return leave(status)

    def replay(self, directory: Path, args: Arguments) -> int | None:
        """Replay through; returns the program's wait status, None when it is not known."""
        from relive.replay.session import replay

        quiet = args.has("no-redirect-output")
        with Progress("replaying", unit="events") as progress:
            result = replay(
                directory,
                echo=not quiet,
                stats=stats(args),
                stats_json=Path(file) if (file := args.get("stats-json")) else None,
                evaluator=args.get("evaluator") or "auto",
                retries=retries(args),
                # what the program prints may go to the same terminal
                reached=showing(progress, directory) if quiet else None,
            )
        if result.ended_early:
            tell(f"the recording ends early, after {result.events} events: {result.ended_early}")
        return result.status


def showing(progress: Progress, directory: Path) -> Callable[[int], None] | None:
    """What moves a progress line; None when nobody would see it."""
    if not progress.live:
        return None
    from relive.trace.reader import Recording

    with Recording(directory) as recording:
        progress.total = recording.n_events
    return progress.set


def retries(args: Arguments) -> int:
    """How often a replay that differs is made again."""
    text = args.get("retries") or "1000"
    if not text.isdecimal():
        raise UsageError(f"--retries takes a whole number, not '{text}'")
    return int(text)


def stats(args: Arguments) -> Literal["", "short", "all"]:
    """How much --stats tells."""
    match args.get("stats"):
        case None:
            return ""
        case "short":
            return "short"
        case "all":
            return "all"
        case other:
            raise UsageError(f"--stats takes 'all', not '{other}'")


COMMAND = Replay()
