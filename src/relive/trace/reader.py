"""Reads a recording.  Nothing in it is believed: every length is checked before it is used.

What is sound before the first damaged or missing chunk is given; then comes the
reason, as `Recording.ended_early`.  Nothing is ever written here, and no symbolic
link inside a recording is followed.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, NamedTuple

from relive.errors import RecordingError
from relive.trace import codec
from relive.trace.events import Event, decode_chunk
from relive.trace.kinds import Kind
from relive.trace.store import FileStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_MAX_MARKER = 4096


class Chunk(NamedTuple):
    """raw: the encoded events, n_events of them, the first with number first_event.
    last: no chunk follows.  number: its ordinal."""

    raw: bytes
    first_event: int
    n_events: int
    last: bool
    number: int


class _Place(NamedTuple):
    """A chunk's header as found at `offset`; previous: the checksum its own continues."""

    offset: int
    flags: int
    stored_len: int
    raw_len: int
    n_events: int
    first_event: int
    previous: int
    checksum: int


class _Damage(Exception):
    pass


class Recording:
    """A recording, open for reading.  One thread at a time.

    path: its directory, as given. complete: its recorder finished it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises RecordingError: not a recording, or of a format this version can't read."""
        self.path = os.fspath(path)
        self._dir = self._fd = self._marker = -1
        try:
            self._dir = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as e:
            raise RecordingError(f"can't open the recording {self.path} ({e.strerror})") from e
        try:
            self.complete, self._ended = self._read_marker()
            self._fd = self._open_inside("events")
            self._size = os.fstat(self._fd).st_size
        except BaseException:
            self.close()
            raise
        self._decompress = codec.decompressor()
        self._places: list[_Place] = []
        self._scanned = 0  # offset up to which _places reach
        self._scan_done = False
        self._structure_fault: str | None = None
        self._fault: str | None = None
        self._damaged = False
        self._meta: dict[str, Any] | None = None
        self._store: FileStore | None = None

    def close(self) -> None:
        """Closes the files; harmless when closed."""
        for fd in (self._fd, self._marker, self._dir):
            if fd >= 0:
                os.close(fd)
        self._fd = self._marker = self._dir = -1
        if getattr(self, "_store", None) is not None:
            assert self._store is not None
            self._store.close()
            self._store = None

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- opening

    def _open_inside(self, name: str) -> int:
        try:
            fd = os.open(name, _READ, dir_fd=self._dir)
        except OSError as e:
            raise RecordingError(f"can't read {self.path}/{name} ({e.strerror})") from e
        if os.fstat(fd).st_mode & 0o170000 != 0o100000:
            os.close(fd)
            raise RecordingError(f"{self.path}/{name} is not a plain file")
        return fd

    def _read_marker(self) -> tuple[bool, str]:
        """Opens `version` or `incomplete`: (it was `version`, why recording ended, or "")."""
        for name in ("version", "incomplete"):
            try:
                os.stat(name, dir_fd=self._dir, follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as e:
                raise RecordingError(f"can't read {self.path}/{name} ({e.strerror})") from e
            self._marker = self._open_inside(name)
            text = os.pread(self._marker, _MAX_MARKER, 0).decode("utf-8", "replace")
            return name == "version", self._check_marker(name, text)
        raise RecordingError(
            f"{self.path} is not a recording: it has neither `version` nor `incomplete`"
        )

    def _check_marker(self, name: str, text: str) -> str:
        lines = text.split("\n")
        kind, _, number = lines[1].partition(" ") if len(lines) > 2 else ("", "", "")
        known = lines[0] == "relive recording" and kind == "format"
        if not known or not (number.isascii() and number.isdigit() and len(number) < 10):
            raise RecordingError(f"{self.path}/{name} is not that of a recording")
        if int(number) > codec.FORMAT:
            raise RecordingError(
                f"{self.path} was made by a newer relive: it has format {int(number)},"
                f" this one reads format {codec.FORMAT}",
                "replay it with the version that recorded it, or a newer one",
            )
        if int(number) < codec.FORMAT:
            raise RecordingError(
                f"{self.path} was made by an older relive: it has format {int(number)},"
                f" this one reads format {codec.FORMAT}",
                "replay it with the version that recorded it",
            )
        for line in lines[2:]:
            key, _, value = line.partition(" ")
            if key == "ended":
                return "".join(c for c in value if c.isprintable())[:200]
        return ""

    # -- state

    @property
    def live(self) -> bool:
        """Its recorder is at work.  (False also where the file system has no locks.)"""
        from fcntl import LOCK_NB, LOCK_SH, LOCK_UN, flock

        try:
            flock(self._marker, LOCK_SH | LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        flock(self._marker, LOCK_UN)
        return False

    @property
    def ended_early(self) -> str | None:
        """Why the log is not whole, as far as known; None: nothing is wrong with it.

        A missing end is seen at once; a damaged chunk when it is read: certain after
        `chunks` or `events` has been run to its end, or `check`.
        """
        if self._fault is None:
            self._scan()
        return self._fault or self._structure_fault

    @property
    def damaged(self) -> bool:
        """What ended early was not just its recorder being stopped."""
        self._scan()
        return self._damaged

    @property
    def size(self) -> int:
        """Bytes of the log."""
        return self._size

    @property
    def n_events(self) -> int:
        """Events in the log as its chunk headers tell."""
        self._scan()
        return self._n_scanned

    @property
    def n_chunks(self) -> int:
        """Chunks in the log as its chunk headers tell."""
        self._scan()
        return len(self._places)

    @property
    def raw_size(self) -> int:
        """Bytes of the log when decompressed, as its chunk headers tell."""
        self._scan()
        return sum(place.raw_len for place in self._places)

    @property
    def checksum(self) -> int:
        """The checksum of the last good chunk's header, which depends on all before it; 0 when
        there is none."""
        self._scan()
        return self._places[-1].checksum if self._places else 0

    @property
    def meta(self) -> dict[str, Any]:
        """What event 0 says about the recording.  Raises RecordingError when there is none."""
        if self._meta is None:
            for event in self.events():
                self._meta = event.extra
                break
            if self._meta is None:
                raise RecordingError(
                    f"the recording {self.path} holds no events ({self.ended_early})"
                )
        return self._meta

    @property
    def store(self) -> FileStore:
        """The stored files."""
        if self._store is None:
            self._store = FileStore(self.path)
        return self._store

    # -- reading

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        """The chunks from number `start` on, each verified.

        Ends at the last one, or before the first one that is damaged or missing: then
        `ended_early` tells why.  Raises RecordingError only when the file can't be read.
        """
        number = start
        while True:
            place = self._place(number)
            if place is None:
                return
            try:
                raw = self._load(place)
            except _Damage as e:
                self._fault = self._say(number, place.offset, str(e))
                self._damaged = True
                return
            yield Chunk(
                raw, place.first_event, place.n_events, bool(place.flags & codec.FLAG_LAST), number
            )
            number += 1

    def events(self, start: int = 0) -> Iterator[Event]:
        """The events from number `start` on; ends as `chunks` does.

        Raises RecordingError at an event that is not well-formed although its chunk's
        checksum is right (a defective or forged recording).
        """
        for chunk in self.chunks(self._chunk_of(start) if start else 0):
            for event in decode_chunk(
                chunk.raw, chunk.first_event, n_events=chunk.n_events, chunk=chunk.number
            ):
                if (event.kind is Kind.META) != (event.number == 0):
                    raise RecordingError(
                        f"the recording is damaged in chunk {chunk.number}, event {event.number}:"
                        f" its kind is {event.kind.name}; META is event 0 and no other"
                    )
                if event.number >= start:
                    yield event

    def chunk_at(self, event: int) -> Chunk:
        """The chunk that holds the event.  Raises RecordingError: there is none, or damaged."""
        number = self._chunk_of(event)
        for chunk in self.chunks(number):
            return chunk
        raise RecordingError(
            f"the recording {self.path} has no event {event} ({self.ended_early or 'past its end'})"
        )

    def check(self) -> str | None:
        """Verifies all chunks and decodes all events: ended_early, certain.

        Raises RecordingError as `events` does.
        """
        for _ in self.events():
            pass
        return self.ended_early

    # -- inside

    def _chunk_of(self, event: int) -> int:
        while not self._scan_done and event >= self._n_scanned:
            self._scan_one()
        if not 0 <= event < self._n_scanned:
            return len(self._places)
        return bisect_right(self._places, event, key=lambda place: place.first_event) - 1

    @property
    def _n_scanned(self) -> int:
        return self._places[-1].first_event + self._places[-1].n_events if self._places else 0

    def _place(self, number: int) -> _Place | None:
        while len(self._places) <= number and not self._scan_done:
            self._scan_one()
        return self._places[number] if number < len(self._places) else None

    def _scan(self) -> None:
        while not self._scan_done:
            self._scan_one()

    def _scan_one(self) -> None:
        """Reads the next header.  Only what is sound in itself becomes a place."""
        number = len(self._places)
        before = self._places[-1] if self._places else None
        at = self._scanned
        if before is not None and before.flags & codec.FLAG_LAST:
            self._scan_done = True
            if at != self._size:
                self._structure_fault = f"{self._size - at} bytes of something follow its end"
                self._damaged = True
            return
        if at == self._size:
            self._missing_end("")
            return
        if self._size - at < codec.HEADER_SIZE:
            self._missing_end(f"chunk {number} is cut at {self._size - at} bytes of its header")
            return
        try:
            place = self._check_header(number, before, at, self._read(at, codec.HEADER_SIZE))
        except _Damage as e:
            self._scan_done = True
            self._damaged = True
            self._structure_fault = self._say(number, at, str(e))
            return
        end = at + codec.HEADER_SIZE + place.stored_len
        if end > self._size:
            self._missing_end(f"chunk {number} lacks {end - self._size} bytes")
            return
        self._places.append(place)
        self._scanned = end

    def _check_header(self, number: int, before: _Place | None, at: int, head: bytes) -> _Place:
        magic, flags, seq, stored_len, raw_len, n_events, first_event, checksum = (
            codec.HEADER.unpack(head)
        )
        expected = before.first_event + before.n_events if before else 0
        if magic != codec.MAGIC:
            raise _Damage("no chunk begins there")
        if flags & ~codec.FLAG_LAST:
            raise _Damage(f"unknown flags {flags:#x}")
        if seq != number:
            raise _Damage(f"it says it is chunk {seq}")
        if first_event != expected:
            raise _Damage(f"it starts with event {first_event}, event {expected} is due")
        if raw_len > codec.MAX_RAW or stored_len > codec.MAX_STORED:
            raise _Damage(f"{stored_len} bytes for {raw_len} are beyond the format's limits")
        if n_events * codec.MIN_EVENT > raw_len or (n_events == 0) != (raw_len == 0):
            raise _Damage(f"{n_events} events don't take {raw_len} bytes")
        if n_events == 0 and not flags & codec.FLAG_LAST:
            raise _Damage("it is empty and not the last")
        if raw_len > stored_len * codec.MAX_RATIO:
            raise _Damage(f"{raw_len} bytes can't come from {stored_len}")
        previous = before.checksum if before else 0
        return _Place(at, flags, stored_len, raw_len, n_events, first_event, previous, checksum)

    def _missing_end(self, how: str) -> None:
        self._scan_done = True
        n = self._n_scanned
        have = f"it ends with event {n - 1}" if n else "it has no events"
        if self.complete:
            self._damaged = True
            self._structure_fault = f"the log is cut short: {have}{how and ', ' + how}"
        elif self.live:
            self._structure_fault = f"it is still being recorded: so far {have}"
        else:
            why = self._ended or "the recorder was stopped"
            self._structure_fault = f"recording ended early ({why}): {have}{how and ', ' + how}"

    def _say(self, number: int, offset: int, what: str) -> str:
        n = self._places[number].first_event if number < len(self._places) else (self._n_scanned)
        have = f"event {n - 1} is the last before it" if n else "no event precedes it"
        return f"the log is damaged in chunk {number} at byte {offset}: {what}; {have}"

    def _load(self, place: _Place) -> bytes:
        data = self._read(place.offset, codec.HEADER_SIZE + place.stored_len)
        front, payload = data[: codec.HEADER_HASHED], memoryview(data)[codec.HEADER_SIZE :]
        if codec.checksum(place.previous, front, payload) != place.checksum:
            raise _Damage("its checksum does not match")
        try:
            return self._decompress(payload, place.raw_len)
        except ValueError as e:
            raise _Damage(str(e)) from None

    def _read(self, at: int, n: int) -> bytes:
        """n bytes, known to be within the file."""
        parts = []
        while n > 0:
            try:
                part = os.pread(self._fd, n, at)
            except OSError as e:
                raise RecordingError(f"can't read {self.path}/events ({e.strerror})") from e
            except MemoryError:
                raise RecordingError(f"no memory for {n} bytes of {self.path}/events") from None
            if not part:
                raise _Damage("the file has become shorter")
            parts.append(part)
            at += len(part)
            n -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
