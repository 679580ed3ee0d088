"""Finding recordings (relive.cli.naming tells where they are)."""

from __future__ import annotations

import os
from pathlib import Path

from relive.cli import naming
from relive.errors import RecordingError, ReliveError

#: file in a recording's directory: its state
STATES = {"version": "sound", "incomplete": "incomplete"}
SIGNATURE = b"relive recording\n"


def root() -> Path:
    """The directory that holds the recordings (it may not exist yet)."""
    return Path(naming.root())


def state(directory: Path) -> str | None:
    """ "sound", "incomplete", or None when the directory holds no recording."""
    for name, meaning in STATES.items():
        try:
            # A FIFO or a device of that name must not hang or be read.
            fd = os.open(directory / name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            if os.read(fd, len(SIGNATURE)) == SIGNATURE:
                return meaning
        except OSError:
            pass
        finally:
            os.close(fd)
    return None


def find(name: str | None) -> Path:
    """The recording that a person means: a path, a name under the root, or (None) the latest.

    RecordingError when there is none.
    """
    if name is None:
        link = root() / naming.LATEST
        if not link.exists():
            raise RecordingError(
                f"no latest recording in {root()}",
                "name one, or make one with `relive record PROGRAM`",
                path=link,
            )
        directory = link.resolve()
    elif "/" not in name and state(root() / name) is not None:
        directory = (root() / name).resolve()
    else:
        directory = Path(name).absolute()
    if state(directory) is not None:
        return directory
    if not directory.exists():
        where = "" if name is None or "/" in name else f" here or in {root()}"
        raise RecordingError(
            f"no recording '{name}'{where}", "`relive ls` lists them", path=directory
        )
    raise RecordingError(
        f"{directory} is not a relive recording",
        "a recording is a directory with a file `version` or `incomplete`",
        path=directory,
    )


def known(name: str) -> bool:
    """Whether `find` would find it."""
    try:
        find(name)
    except RecordingError:
        return False
    return True


def listing() -> list[Path]:
    """All recordings under the root, by name."""
    try:
        with os.scandir(root()) as entries:
            found = [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ReliveError(f"cannot list {root()}: {error.strerror}") from None
    return sorted((path for path in found if state(path) is not None), key=natural)


def natural(path: Path) -> tuple[str, int]:
    """Sort key: `ls-9` before `ls-10`."""
    start, _, end = path.name.rpartition("-")
    return (start, int(end)) if end.isascii() and end.isdigit() else (path.name, -1)


def size(directory: Path) -> int:
    """Bytes in the files of a recording."""
    total = 0
    for folder, _, files in os.walk(directory):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return total
