"""A recording's `index`: what replays found out, so that the next one is quicker.

It may be deleted at any time, and nothing in it is believed: a replay that goes to a position
compares the whole landmark there.  Layout (docs/format.md): all numbers little endian.

     0        4        8                16               24
     +--------+--------+----------------+----------------+---- - - -
     | "RLX1" | 0      | log            | checksum       | sections
     +--------+--------+----------------+----------------+---- - - -
       4 char   u32      u64              u64

    log: the checksum of the log's last good chunk, which says which log this belongs to.
    checksum: xxh3_64 (seed 0) of bytes 0..15 and of everything behind it.
    section: u32 kind, u32 0, u64 bytes; then so many bytes.  Unknown kinds are passed over.
    kind 1, positions: u64 event, u64 address, u64 hit, for each; by rising event.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from relive.trace import codec

if TYPE_CHECKING:
    from relive.trace.reader import Recording

NAME: Final = "index"
MAGIC: Final = b"RLX1"
_HEADER: Final = struct.Struct("<4sIQ")
_CHECKSUM: Final = struct.Struct("<Q")
_SECTION: Final = struct.Struct("<IIQ")
_POSITION: Final = struct.Struct("<QQQ")
_POSITIONS: Final = 1
MAX_SIZE: Final = 1 << 28
"""Bytes of an index that is looked at."""


class Position(NamedTuple):
    """Where an asynchronous event is: at the address, at this execution of it (from 1) since the
    task's last event; where the task stands at the address to begin with, that is the first."""

    address: int
    hit: int


def encode(log: int, positions: Mapping[int, Position]) -> bytes:
    """The file's bytes.  log: the checksum of the log's last chunk; positions: by event."""
    body = b"".join(_POSITION.pack(event, *positions[event]) for event in sorted(positions))
    section = _SECTION.pack(_POSITIONS, 0, len(body)) + body
    head = _HEADER.pack(MAGIC, 0, log)
    return head + _CHECKSUM.pack(_sum(head, section)) + section


def decode(data: bytes, log: int) -> dict[int, Position]:
    """The positions; none when it is not of this log, or damaged in any way."""
    start = _HEADER.size + _CHECKSUM.size
    if len(data) < start:
        return {}
    magic, zero, of = _HEADER.unpack_from(data)
    (checksum,) = _CHECKSUM.unpack_from(data, _HEADER.size)
    if magic != MAGIC or zero or of != log or checksum != _sum(data[: _HEADER.size], data[start:]):
        return {}
    positions: dict[int, Position] = {}
    at = start
    while at < len(data):
        if len(data) - at < _SECTION.size:
            return {}
        kind, zero, size = _SECTION.unpack_from(data, at)
        at += _SECTION.size
        if zero or size > len(data) - at:
            return {}
        if kind == _POSITIONS and not _read_positions(data[at : at + size], positions):
            return {}
        at += size
    return positions


def _read_positions(body: bytes, to: dict[int, Position]) -> bool:
    if len(body) % _POSITION.size:
        return False
    last = -1
    for event, address, hit in _POSITION.iter_unpack(body):
        if event <= last or not hit:
            return False
        to[event] = Position(address, hit)
        last = event
    return True


def _sum(head: bytes, rest: bytes) -> int:
    return codec.checksum(0, head, memoryview(rest))


def read(recording: Recording) -> dict[int, Position]:
    """The positions that are known of the recording's asynchronous events, by event; none when
    there is no index, or none to be trusted."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(Path(recording.path) / NAME, flags)
    except OSError:
        return {}
    try:
        info = os.fstat(fd)
        if info.st_mode & 0o170000 != 0o100000 or info.st_size > MAX_SIZE:
            return {}
        with open(fd, "rb", closefd=False) as file:
            return decode(file.read(MAX_SIZE), recording.checksum)
    except OSError:
        return {}
    finally:
        os.close(fd)


def write(recording: Recording, positions: Mapping[int, Position]) -> bool:
    """Replaces the index.  False when it could not be written (a directory that is not ours, a
    full disk): then the old one stays, or none."""
    data = encode(recording.checksum, positions)
    path = Path(recording.path) / NAME
    temporary = path.with_name(f"{NAME}.tmp-{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(temporary, flags, 0o600)
    except OSError:
        return False
    try:
        with open(fd, "wb") as file:
            file.write(data)
        temporary.rename(path)
    except OSError:
        try:
            temporary.unlink()
        except OSError:
            pass
        return False
    return True
