"""Makes recordings self-contained, and one file of them that can be sent away.

An archive is a plain POSIX.1-1988 tar (ustar; sizes from 8 GiB on in the base-256 form that
GNU tar and libarchive read as well) of regular files only: `version` or `incomplete`, `events`,
`index` if there is one, `files/<hash>`... in this order, owner 0, time 0: the same recording gives
the same bytes.
`tar xf` unpacks it too.  The header's 512 bytes:

    0 name[100]  100 mode[8]  108 uid[8]  116 gid[8]  124 size[12]  136 mtime[12]
    148 checksum[8]  156 type  157 link[100]  257 "ustar\\0" "00"  265 names, devices, prefix

Unpacking trusts nothing: every header must be exactly what `archive` writes for an
expected name, so there are no links, devices, foreign paths or extension headers to get wrong.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from relive.errors import RecordingError
from relive.trace import index, store
from relive.trace.reader import Recording

if TYPE_CHECKING:
    from collections.abc import Callable

    Progress = Callable[[int, int], None]

_BLOCK = 512
_COPY = 1 << 20
_END = bytes(2 * _BLOCK)
_MAX_SIZE = (1 << 63) - 1
_MARKERS = ("version", "incomplete")
#: More bytes than this are not unpacked unless the caller says so.
DEFAULT_LIMIT = 256 << 30


def pack(path: str | os.PathLike[str]) -> int:
    """Makes the recording self-contained: files of its own, nothing shared by hard links.

    Verifies the stored files, and waits until all is on the disk.  Returns the number of
    files that were copied.  (A reflinked file is a file of its own.)  Raises RecordingError;
    OSError when the disk is full, leaving the recording as good as it was.
    """
    root = Path(path)
    copied = 0
    with Recording(root) as recording:
        directory = root / "files"
        for name in recording.store.names():
            fd = recording.store.open(name)
            try:
                if os.fstat(fd).st_nlink > 1:
                    _own(directory, name, fd)
                    copied += 1
                else:
                    os.fsync(fd)
            finally:
                os.close(fd)
    for part in (root / "events", directory, root):
        _sync(part)
    return copied


def _own(directory: Path, name: str, fd: int) -> None:
    temporary = directory / f"tmp-{os.getpid()}-{name}"
    to = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o400)
    try:
        at = 0
        while block := os.pread(fd, _COPY, at):
            store.write_at(to, block, at)
            at += len(block)
        os.ftruncate(to, at)
        os.fchmod(to, 0o400)
        os.fsync(to)
        temporary.rename(directory / name)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(to)


def _sync(path: Path) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# -- archive


def archive(
    path: str | os.PathLike[str],
    out_file: str | os.PathLike[str],
    progress: Progress | None = None,
) -> int:
    """Writes the recording into one new file (mode 0600), which appears when it is whole.

    progress(bytes done, bytes in all) is called now and then.  Returns its size in bytes.
    Raises RecordingError (also: a stored file is damaged), FileExistsError, OSError.
    """
    out = Path(out_file)
    if os.path.lexists(out):
        raise FileExistsError(17, "it exists", os.fspath(out))
    temporary = out.with_name(f".{out.name}.tmp-{os.getpid()}")
    with Recording(path) as recording:
        if recording.live:
            raise RecordingError(f"{recording.path} is still being recorded")
        directory = os.open(recording.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        members: list[tuple[str, int]] = []
        try:
            marker = "version" if recording.complete else "incomplete"
            # (an index that is of no use stays behind)
            parts = (marker, "events", *([index.NAME] if index.read(recording) else []))
            for name in parts:
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                members.append((name, os.open(name, flags, dir_fd=directory)))
            total = sum(os.fstat(fd).st_size for _, fd in members)
            names = recording.store.names()
            for name in names:
                total += (Path(recording.path) / "files" / name).lstat().st_size
            fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            try:
                with open(fd, "wb") as to:
                    done = 0
                    for name, member in members:
                        done = _put(to, name, member, done, total, progress)
                    for name in names:
                        member = recording.store.open(name)
                        try:
                            done = _put(to, f"files/{name}", member, done, total, progress)
                        finally:
                            os.close(member)
                    to.write(_END)
                    to.flush()
                    os.fsync(fd)
                    size = to.tell()
                try:  # link() never replaces what appeared meanwhile, as rename() does
                    os.link(temporary, out)
                except FileExistsError:
                    raise
                except OSError:  # a file system without hard links
                    temporary.rename(out)
            finally:
                temporary.unlink(missing_ok=True)
        finally:
            os.close(directory)
            for _, member in members:
                os.close(member)
    return size


def _put(to: BinaryIO, name: str, fd: int, done: int, total: int, progress: Progress | None) -> int:
    size = os.fstat(fd).st_size
    to.write(_header(name, size))
    at = 0
    while at < size:
        block = os.pread(fd, min(_COPY, size - at), at)
        if not block:
            raise RecordingError(f"{name} became shorter while it was archived")
        to.write(block)
        at += len(block)
        if progress is not None:
            progress(done + at, total)
    to.write(bytes(-size % _BLOCK))
    return done + size


def _header(name: str, size: int) -> bytes:
    if size < 8 << 30:
        size_field = b"%011o\0" % size
    else:
        size_field = b"\x80" + size.to_bytes(11, "big")
    mode = 0o400 if name.startswith("files/") else 0o600
    head = bytearray(
        name.encode("ascii").ljust(100, b"\0")
        + b"%07o\0" % mode
        + b"0000000\0" * 2
        + size_field
        + b"%011o\0" % 0
        + b" " * 8
        + b"0"
        + bytes(100)
        + b"ustar\x0000"
    ).ljust(_BLOCK, b"\0")
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


# -- unpack


def unpack(
    file: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    *,
    limit: int = DEFAULT_LIMIT,
    progress: Progress | None = None,
) -> None:
    """Makes the recording in an archive the new directory `directory` (0700, files 0600).

    It appears when it is whole; nothing outside it is written.  Stored files are verified as
    they are written, the log when it is read.  limit: bytes allowed on disk.  Raises
    RecordingError: not such an archive, or too big; FileExistsError; OSError.
    """
    target = Path(directory)
    if os.path.lexists(target):
        raise FileExistsError(17, "it exists", os.fspath(target))
    with open(file, "rb") as source:
        if not os.path.isfile(source.fileno()):  # noqa: PTH113  (of a descriptor)
            raise RecordingError(f"{file} is not a plain file")
        total = os.fstat(source.fileno()).st_size
        temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}")
        temporary.mkdir(mode=0o700)
        try:
            (temporary / "files").mkdir(mode=0o700)
            try:
                _unpack_into(source, total, temporary, limit, progress)
            except _Refused as e:
                raise RecordingError(f"{file} is not an archive of a recording: {e}") from None
            with Recording(temporary) as unpacked:  # of a format this version knows
                if os.path.lexists(temporary / index.NAME) and not index.read(unpacked):
                    raise RecordingError(f"{file} has an index that is not of its log")
            temporary.rename(target)  # fails if something other than an empty directory is there
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


class _Refused(Exception):
    pass


def _unpack_into(
    source: BinaryIO, total: int, directory: Path, limit: int, progress: Progress | None
) -> None:
    seen: set[str] = set()
    last = ""
    left = limit
    while True:
        head = source.read(_BLOCK)
        if len(head) < _BLOCK:
            raise _Refused("it is cut short")
        if head == bytes(_BLOCK):
            break
        name, size = _parse_header(head)
        if len(seen) < 2:
            expected = _MARKERS if not seen else ("events",)
            if name not in expected:
                raise _Refused(f"it has {name} where {' or '.join(expected)} is due")
        elif name == index.NAME:
            if len(seen) > 2:
                raise _Refused(f"it has {name} after {last}")
        elif not name.startswith("files/") or (last.startswith("files/") and name <= last):
            raise _Refused(f"it has {name} after {last}")
        left -= size
        if left < 0:
            raise _Refused(f"it holds more than {limit} bytes")
        if size > total - source.tell():
            raise _Refused(f"{name} is cut short")
        _get(source, size, directory / name, name[6:] if name.startswith("files/") else "")
        padding = source.read(-size % _BLOCK)
        if len(padding) < -size % _BLOCK or padding.strip(b"\0"):
            raise _Refused(f"{name} is not padded as it must be")
        seen.add(name)
        last = name
        if progress is not None:
            progress(source.tell(), total)
    if len(seen) < 2:
        raise _Refused("it has no event log")
    while rest := source.read(_COPY):
        if rest.strip(b"\0"):
            raise _Refused("something follows its end")


def _parse_header(head: bytes) -> tuple[str, int]:
    """Name and size; refuses whatever `_header` would not have written, byte for byte."""
    name = head[:100].rstrip(b"\0").decode("ascii", "replace")
    plain = name in (*_MARKERS, "events", index.NAME)
    if not plain and not (name.startswith("files/") and store.is_hash(name[6:])):
        raise _Refused(f"it has a file {name[:100]!r}")
    field = head[124:136]
    if field[0] == 0x80:
        size = int.from_bytes(field[1:], "big")
    elif field[:11].isdigit():
        try:
            size = int(field[:11], 8)
        except ValueError:
            size = -1
    else:
        size = -1
    if not 0 <= size <= _MAX_SIZE or _header(name, size) != head:
        raise _Refused(f"the header of {name} is not of the expected form")
    return name, size


def _get(source: BinaryIO, size: int, path: Path, name: str) -> None:
    from xxhash import xxh3_128

    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags, 0o600)
    try:
        h = xxh3_128()
        at = 0
        while at < size:
            block = source.read(min(_COPY, size - at))
            if not block:
                raise _Refused(f"{path.name} is cut short")
            store.write_at(fd, block, at)
            h.update(block)
            at += len(block)
        os.ftruncate(fd, size)
        if name and h.hexdigest() != name:
            raise _Refused(f"the content of files/{name} does not match its name")
        os.fchmod(fd, 0o400 if name else 0o600)
        os.fsync(fd)
    finally:
        os.close(fd)
