"""`relive rm`: remove recordings."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from relive.cli import naming, store
from relive.cli.options import Arguments, Command, Option
from relive.cli.tell import tell
from relive.errors import RecordingError, ReliveError, UsageError

#: all that a recording's directory holds; anything else there is somebody's own
PARTS = frozenset(("version", "incomplete", "events", "index", "files"))


class Rm(Command):
    name = "rm"
    operands = "RECORDING..."
    about = """\
Remove recordings, given by name or path.  What is not a recording, and one that
holds files that are not its own, is refused."""
    options = (
        Option("-f", "--force", help="remove files that are not the recording's own, too"),
        Option("--all", help="remove all that `relive ls` shows"),
    )

    def run(self, args: Arguments) -> int:
        if bool(args.positional) == args.has("all"):
            raise UsageError("rm: name recordings, or say --all", f"usage: {self.usage()}")
        names = [str(path) for path in store.listing()] if args.has("all") else args.positional
        # First see that all of them may go, so that a slip removes nothing.
        paths = list(dict.fromkeys(check(name, args.has("force")) for name in names))
        for path in paths:
            try:
                shutil.rmtree(path)
            except OSError as error:
                raise ReliveError(f"cannot remove {path}: {error.strerror}") from None
        drop_latest()
        prune({path.parent for path in paths})
        return 0


def check(name: str, force: bool) -> Path:
    """The recording that `name` means; ReliveError when it may not be removed."""
    from relive.trace.reader import Recording

    path = store.find(name)
    try:
        with Recording(path) as recording:
            live = not recording.complete and recording.live
    except RecordingError:
        live = False  # damaged; it is one all the same
    if live:
        raise ReliveError(f"{path} is being recorded", "end the recorded program first")
    foreign = sorted(set(os.listdir(path)) - PARTS)
    if foreign and not force:
        raise ReliveError(
            f"{path} also holds '{foreign[0]}', which is not part of a recording",
            "move it away, or use -f",
        )
    return path


def drop_latest() -> None:
    """Remove the `latest` symlink when it leads nowhere."""
    link = store.root() / naming.LATEST
    if link.is_symlink() and not link.exists():
        try:
            link.unlink()
        except OSError as error:
            tell(f"warning: {link} leads nowhere: {error.strerror}")


def prune(parents: set[Path]) -> None:
    """Free what only the removed recordings used of the files that recordings share."""
    from relive.trace.store import prune as prune_shared

    for parent in parents:
        prune_shared(parent / naming.SHARED)


COMMAND = Rm()
