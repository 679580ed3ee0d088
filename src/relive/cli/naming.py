"""Where a new recording goes.

    ROOT/<program>-N    a recording (a directory, see relive.trace)
    ROOT/latest         symlink to the newest one whose program has started

ROOT is $RELIVE_TRACE_DIR, else $XDG_DATA_HOME/relive, else ~/.local/share/relive.

Apart from `relive.cli.store` because `relive record` needs only this, and
pathlib, which the rest uses, would cost it as much as the interpreter itself.
"""

from __future__ import annotations

import os
from errno import EACCES, EEXIST, ENOTEMPTY
from fcntl import LOCK_EX, flock

from relive.errors import ReliveError, UsageError

LATEST = "latest"
#: directory beside recordings: contents that they share (relive.trace.store.SharedFiles)
SHARED = ".store"


def root() -> str:
    """The directory that holds the recordings (it may not exist yet), absolute."""
    named = os.environ.get("RELIVE_TRACE_DIR")
    if named:
        return os.path.abspath(named)
    data = os.environ.get("XDG_DATA_HOME", "")
    # The XDG base directory specification: a relative path is to be ignored.
    if not data.startswith("/"):
        home = os.environ.get("HOME") or os.path.expanduser("~")
        data = os.path.join(home, ".local", "share")
    return os.path.abspath(os.path.join(data, "relive"))


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

    def __init__(self, path: str, lock: int = -1) -> None:
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
        os.makedirs(parent, mode=0o700, exist_ok=True)
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
    return Place(os.path.join(parent, f"{name}-{number}"), lock)


def claim(path: str) -> Place:
    """The place that -o names, which must not exist or be an empty directory."""
    path = os.path.abspath(path)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.lexists(path):
            os.rmdir(path)
    except OSError as error:
        if error.errno in (ENOTEMPTY, EEXIST):
            raise UsageError(f"{path} is not empty", "give a new directory with -o") from None
        raise ReliveError(
            f"cannot make the directory {path}: {error.strerror}", "give another one with -o"
        ) from None
    return Place(path)


def set_latest(directory: str) -> None:
    """Point `latest` beside `directory` to it, atomically.

    Failing to is no reason to lose a recording: the caller may ignore OSError.
    """
    parent, name = os.path.split(directory)
    fresh = os.path.join(parent, f".{LATEST}.{os.getpid()}")
    if os.path.lexists(fresh):
        os.unlink(fresh)
    os.symlink(name, fresh)
    try:
        os.rename(fresh, os.path.join(parent, LATEST))
    except OSError:
        os.unlink(fresh)
        raise
