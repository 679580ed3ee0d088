"""Writes the event log of a recording, chunk by chunk.

On the recorder's start-up path: nothing costly is imported here (no typing,
pathlib, json, enum).
"""

# pathlib costs 5 ms of start-up:
# ruff: noqa: PTH101, PTH102

from __future__ import annotations

import os
from time import perf_counter_ns

from relive.trace import codec
from relive.trace.errors import TraceWriteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW


class ChunkWriter:
    """The log of one new recording.  One thread at a time may use it.

    Attributes, all counts since the start: chunks, events, raw_bytes,
    stored_bytes (headers included), nanoseconds (spent in write_chunk).
    failed: the TraceWriteError that ended the recording, or None.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        """Creates the directory `path` (which must not exist), its marker and its empty log.

        Raises TraceWriteError.
        """
        self.path = os.fspath(path)
        self.chunks = 0
        self.events = 0
        self.raw_bytes = 0
        self.stored_bytes = 0
        self.nanoseconds = 0
        self.failed: TraceWriteError | None = None
        self._checksum = 0
        self._last = False
        self._compress = codec.compressor()
        self._dir = self._marker = self._fd = -1
        try:
            os.mkdir(self.path, 0o700)
            os.chmod(self.path, 0o700)  # whatever the umask, or a default ACL, made of it
            self._dir = os.open(self.path, _DIRECTORY)
            self._fd = os.open("events", _CREATE | os.O_APPEND, 0o600, dir_fd=self._dir)
            os.fchmod(self._fd, 0o600)
            self._marker = os.open("incomplete", _CREATE, 0o600, dir_fd=self._dir)
            os.fchmod(self._marker, 0o600)
            os.write(self._marker, codec.MARKER_TEXT.encode())
            self._lock()
        except OSError as e:
            self.close()
            raise TraceWriteError(
                f"can't create the recording {self.path} ({e.strerror})", errno=e.errno or 0
            ) from e

    def _lock(self) -> None:
        # Held for as long as the recorder lives: so that `relive ls` can tell a
        # recording being made from one whose recorder was killed.  Not every file
        # system has locks; nothing depends on it.
        from fcntl import LOCK_EX, LOCK_NB, flock

        try:
            flock(self._marker, LOCK_EX | LOCK_NB)
        except OSError:
            return

    def write_chunk(self, raw: bytes | memoryview, n_events: int, last: bool = False) -> bool:
        """Appends n_events encoded events.

        True when they are in the file.  The first failure raises TraceWriteError, after
        which the log ends with the previous chunk and every further call does nothing and
        returns False: the program being recorded can run on.
        last: no chunk follows; an empty chunk is allowed only as the last.
        """
        if self.failed is not None:
            return False
        if self._last or self._fd < 0:
            raise AssertionError("a chunk after the last one")
        start = perf_counter_ns()
        raw_len = len(raw) if isinstance(raw, bytes) else raw.nbytes
        if n_events == 0 and raw_len == 0 and not last:
            return True
        if raw_len > codec.MAX_RAW:
            raise self._fail(f"{raw_len} bytes in one chunk; the format allows {codec.MAX_RAW}", 0)
        if not 0 <= n_events * codec.MIN_EVENT <= raw_len or (n_events == 0) != (raw_len == 0):
            raise AssertionError(f"{n_events} events can't take {raw_len} bytes")
        payload = self._compress(raw)
        front = codec.HEADER_FRONT.pack(
            codec.MAGIC,
            codec.FLAG_LAST if last else 0,
            self.chunks,
            len(payload),
            raw_len,
            n_events,
            self.events,
        )
        checksum = codec.checksum(self._checksum, front, payload)
        try:
            self._append(front + codec.U64.pack(checksum), payload)
        except OSError as e:
            raise self._fail(e.strerror or str(e), e.errno or 0) from e
        self._checksum = checksum
        self._last = last
        self.chunks += 1
        self.events += n_events
        self.raw_bytes += raw_len
        self.stored_bytes += len(payload) + codec.HEADER_SIZE
        self.nanoseconds += perf_counter_ns() - start
        return True

    def _append(self, header: bytes, payload: bytes) -> None:
        # One system call, so that a recorder killed in between leaves the least half-written.
        done = os.writev(self._fd, (header, payload))
        if done < len(header) + len(payload):
            # A nearly full disk, or more than the 2 GiB one write takes.
            rest = memoryview(header + payload)[done:]
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    def _fail(self, why: str, errno: int) -> TraceWriteError:
        self.failed = TraceWriteError(
            f"the recording {self.path} ends after event {self.events - 1}: {why}"
            if self.events
            else f"the recording {self.path} holds nothing: {why}",
            "what was recorded until then replays" if self.events else "",
            errno=errno,
        )
        # The reader copes with half a chunk and without a reason: both are courtesies.
        try:
            os.ftruncate(self._fd, self.stored_bytes)
            os.write(self._marker, f"ended {why}\n".encode())
        except OSError:
            pass
        return self.failed

    def finish(self) -> None:
        """Declares the recording sound and closes it.

        After a failure, or without a last chunk, it stays `incomplete`.  Nothing is forced
        to the disk: the checksums tell after a power cut what has arrived, and waiting for the
        disk would cost every short recording more than all the rest (`relive pack` does
        wait).  Raises TraceWriteError.
        """
        try:
            if self.failed is None and self._last and self._dir >= 0:
                os.rename("incomplete", "version", src_dir_fd=self._dir, dst_dir_fd=self._dir)
        except OSError as e:
            raise self._fail(e.strerror or str(e), e.errno or 0) from e
        finally:
            self.close()

    def close(self) -> None:
        """Closes the files as they are; harmless when closed."""
        for fd in (self._fd, self._marker, self._dir):
            if fd >= 0:
                os.close(fd)
        self._fd = self._marker = self._dir = -1
