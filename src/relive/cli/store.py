"""Where recordings are kept and how they are named.

    ROOT/<program>-N    a recording (a directory, see relive.trace)
    ROOT/latest         symlink to the newest one whose program has started

ROOT is $RELIVE_TRACE_DIR, else $XDG_DATA_HOME/relive, else ~/.local/share/relive.
"""

from __future__ import annotations

import os
from errno import EACCES, EEXIST, ENOTEMPTY
from fcntl import LOCK_EX, flock
from pathlib import Path

from relive.errors import RecordingError, ReliveError, UsageError

LATEST = "latest"
#: file in a recording's directory: its state
STATES = {"version": "sound", "incomplete": "incomplete"}
SIGNATURE = b"relive recording\n"


def root() -> Path:
    """The directory that holds the recordings (it may not exist yet)."""
    named = os.environ.get("RELIVE_TRACE_DIR")
    if named:
        return Path(named).absolute()
    data = os.environ.get("XDG_DATA_HOME", "")
    # The XDG base directory specification: a relative path is to be ignored.
    if not data.startswith("/"):
        home = os.environ.get("HOME") or os.path.expanduser("~")
        data = os.path.join(home, ".local", "share")
    return Path(data, "relive")


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


def stem(program: str) -> str:
    """The part of a recording's name that comes from the program's."""
    name = "".join(c if c.isprintable() else "_" for c in os.path.basename(program))
    while len(os.fsencode(name)) > 200:  # NAME_MAX is 255
        name = name[:-1]
    return "program" if name in ("", ".", "..") else name


class Place:
    """Where a new recording goes: a path that does not exist yet, in a directory that does.

    Several recorders may name theirs at once.  A lock on the root makes them take
    turns from looking for a free name until `settled`: by then the recorder has
    made the directory.
    """

    def __init__(self, path: Path, lock: int = -1) -> None:
        self.path = path
        self._lock = lock

    def settled(self) -> None:
        """The directory is there, or never will be.  May be called twice."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


def new(program: str) -> Place:
    """The place for a recording of `program` under the root: <program>-N."""
    parent = root()
    name = stem(program)
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if not os.access(parent, os.W_OK | os.X_OK):
            raise PermissionError(EACCES, os.strerror(EACCES))
        try:
            flock(lock, LOCK_EX)
        except OSError:
            pass  # not every file system has locks; then a name may be lost to another recorder
        number = 0
        for entry in os.listdir(parent):
            start, _, end = entry.rpartition("-")
            if start == name and end.isascii() and end.isdigit() and len(end) < 10:
                number = max(number, int(end) + 1)
    except OSError as error:
        raise ReliveError(
            f"cannot make a directory for the recording in {parent}: {error.strerror}",
            "give one with -o DIR, or set RELIVE_TRACE_DIR",
        ) from None
    return Place(parent / f"{name}-{number}", lock)


def claim(path: Path) -> Place:
    """The place that -o names, which must not exist or be an empty directory."""
    path = path.absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path):
            os.rmdir(path)
    except OSError as error:
        if error.errno in (ENOTEMPTY, EEXIST):
            raise UsageError(f"{path} is not empty", "give a new directory with -o") from None
        raise ReliveError(
            f"cannot make the directory {path}: {error.strerror}", "give another one with -o"
        ) from None
    return Place(path)


def set_latest(directory: Path) -> None:
    """Point `latest` beside `directory` to it, atomically.

    Failing to is no reason to lose a recording: the caller may ignore OSError.
    """
    link = directory.parent / LATEST
    fresh = directory.parent / f".{LATEST}.{os.getpid()}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(directory.name)
    try:
        fresh.replace(link)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def find(name: str | None) -> Path:
    """The recording that a person means: a path, a name under the root, or (None) the latest.

    RecordingError when there is none.
    """
    if name is None:
        link = root() / LATEST
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


def shared() -> Path:
    """The contents that the recordings under the root share (relive.trace.store.SharedFiles)."""
    return root() / ".shared"
