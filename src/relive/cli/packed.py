"""Recordings packed into one file (relive.trace.pack), as the commands meet them."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from relive.cli import store
from relive.cli.progress import Progress
from relive.errors import ReliveError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: suffix of packed recordings, for a person; the content decides
SUFFIX = ".relive"


def is_packed(path: str | os.PathLike[str]) -> bool:
    """Whether a file looks like a packed recording (and not like a program)."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return False
    try:
        head = os.pread(fd, 512, 0)
    except OSError:  # a FIFO, a terminal
        return False
    finally:
        os.close(fd)
    name = head[:100].rstrip(b"\0")
    return head[257:262] == b"ustar" and name in (b"version", b"incomplete")


def showing(progress: Progress) -> Callable[[int, int], None]:
    """The callback of relive.trace.pack that moves a progress line."""

    def show(done: int, total: int) -> None:
        progress.total = total
        progress.set(done)

    return show


def unpack(file: Path, directory: Path) -> None:
    """Unpack into a new directory.  RecordingError: not a packed recording; ReliveError."""
    from relive.trace.pack import unpack as unpack_file

    try:
        with Progress("unpacking", unit="bytes") as progress:
            unpack_file(file, directory, progress=showing(progress))
    except FileExistsError:
        raise UsageError(f"{directory} exists already", "name a new one with -o") from None
    except OSError as error:
        raise ReliveError(f"cannot unpack {file} to {directory}: {error.strerror}") from None


@contextmanager
def unpacked(file: Path) -> Iterator[Path]:
    """The packed recording as a directory, which is removed at the end."""
    from tempfile import TemporaryDirectory

    parent = store.root()
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = TemporaryDirectory(prefix=".unpacked-", dir=parent)
    except OSError as error:
        raise ReliveError(f"cannot unpack {file} in {parent}: {error.strerror}") from None
    with temporary as name:
        directory = Path(name) / "recording"
        unpack(file, directory)
        yield directory


@contextmanager
def opened(name: str | None) -> Iterator[Path]:
    """A recording named by the user, as a directory: a packed one is unpacked meanwhile."""
    if name is not None and Path(name).is_file():
        with unpacked(Path(name)) as directory:
            yield directory
    else:
        yield store.find(name)
