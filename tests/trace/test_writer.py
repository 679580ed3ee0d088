"""The writer: what is on the disk is readable at every moment, whatever happens."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from relive.trace import codec
from relive.trace.errors import TraceWriteError
from relive.trace.events import Encoder, Event, decode_chunk, encode_events
from relive.trace.kinds import Kind
from relive.trace.reader import Recording
from relive.trace.writer import ChunkWriter

META = encode_events([Event(Kind.META, extra={})])


def note(size: int, seed: int) -> bytes:
    """An incompressible event of about `size` bytes."""
    text = random.Random(seed).randbytes(size // 2).hex()
    return encode_events([Event(Kind.NOTE, extra={"text": text})])


def test_modes_and_marker(tmp_path: Path) -> None:
    old = os.umask(0o777)
    try:
        writer = ChunkWriter(tmp_path / "rec")
    finally:
        os.umask(old)
    rec = tmp_path / "rec"
    assert rec.stat().st_mode & 0o7777 == 0o700
    assert sorted(p.name for p in rec.iterdir()) == ["events", "incomplete"]
    assert {p.stat().st_mode & 0o7777 for p in rec.iterdir()} == {0o600}
    assert (rec / "incomplete").read_text() == "relive recording\nformat 1\n"
    writer.write_chunk(META, 1, last=True)
    writer.finish()
    assert sorted(p.name for p in rec.iterdir()) == ["events", "version"]
    assert (rec / "version").read_text() == "relive recording\nformat 1\n"


def test_an_existing_directory_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(TraceWriteError, match="File exists") as caught:
        ChunkWriter(tmp_path)
    assert caught.value.errno == errno.EEXIST
    assert list(tmp_path.iterdir()) == []


def test_counts(tmp_path: Path) -> None:
    writer = ChunkWriter(tmp_path / "rec")
    assert writer.write_chunk(b"", 0)  # nothing to do
    assert (writer.chunks, writer.events) == (0, 0)
    assert writer.write_chunk(memoryview(META), 1)
    assert writer.write_chunk(note(100, 1) + note(100, 2), 2)
    assert writer.write_chunk(b"", 0, last=True)
    writer.finish()
    assert (writer.chunks, writer.events) == (3, 3)
    assert writer.stored_bytes == (tmp_path / "rec/events").stat().st_size
    with Recording(tmp_path / "rec") as recording:
        assert recording.check() is None
        assert (recording.n_events, recording.n_chunks) == (3, 3)
        assert recording.raw_size == writer.raw_bytes
    with pytest.raises(AssertionError):
        writer.write_chunk(META, 1)


def test_what_cannot_be_a_chunk(tmp_path: Path) -> None:
    writer = ChunkWriter(tmp_path / "rec")
    for raw, n in ((META, 0), (b"", 1), (b"x" * 31, 2), (META, -1)):
        with pytest.raises(AssertionError):
            writer.write_chunk(raw, n)
    writer.close()


def test_without_a_last_chunk_it_is_not_sound(tmp_path: Path) -> None:
    writer = ChunkWriter(tmp_path / "rec")
    writer.write_chunk(META, 1)
    with Recording(tmp_path / "rec") as recording:
        assert recording.live
        assert recording.ended_early is not None
        assert "still being recorded" in recording.ended_early
    writer.finish()
    with Recording(tmp_path / "rec") as recording:
        assert not recording.live
        assert not recording.complete
        assert recording.ended_early is not None
        assert "the recorder was stopped" in recording.ended_early


def test_ended_between_the_last_chunk_and_the_rename(tmp_path: Path) -> None:
    writer = ChunkWriter(tmp_path / "rec")
    writer.write_chunk(META, 1, last=True)
    writer.close()
    with Recording(tmp_path / "rec") as recording:
        assert not recording.complete
        assert recording.check() is None  # all of it is there


def _no_room(writer: ChunkWriter, errno_: int) -> int:
    """Writes until it fails; how many chunks got through."""
    with pytest.raises(TraceWriteError) as caught:
        for i in range(1000):
            assert writer.write_chunk(note(30_000, i), 1)
    assert caught.value.errno == errno_
    assert caught.value is writer.failed
    written = writer.chunks
    assert not writer.write_chunk(note(10, 1), 1)  # told once
    assert not writer.write_chunk(b"", 0, last=True)
    assert writer.chunks == written
    return written


def _check_prefix(path: Path, chunks: int, why: str) -> None:
    with Recording(path) as recording:
        assert sum(1 for _ in recording.events()) == chunks
        assert not recording.complete
        assert not recording.damaged
        assert recording.ended_early is not None
        assert f"recording ended early ({why})" in recording.ended_early
        # Half a chunk was taken back.
        assert recording.ended_early.endswith(f"event {chunks - 1}")


def test_file_size_limit(tmp_path: Path) -> None:
    writer = ChunkWriter(tmp_path / "rec")
    writer.write_chunk(META, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        chunks = _no_room(writer, errno.EFBIG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.finish()
    assert chunks > 10
    _check_prefix(tmp_path / "rec", chunks, "File too large")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mount is not allowed here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.root
def test_disk_full(small_disk: Path) -> None:
    writer = ChunkWriter(small_disk / "rec")
    writer.write_chunk(META, 1)
    chunks = _no_room(writer, errno.ENOSPC)
    writer.finish()
    assert chunks > 10
    _check_prefix(small_disk / "rec", chunks, "No space left on device")
    with pytest.raises(TraceWriteError, match="can't create"):
        for i in range(100):
            ChunkWriter(small_disk / f"rec{i}").close()


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(fd: int, buffers: tuple[bytes, bytes]) -> int:
        return os.write(fd, b"".join(buffers)[:50])

    real = os.write
    monkeypatch.setattr(os, "writev", short)
    writer = ChunkWriter(tmp_path / "rec")
    writer.write_chunk(META, 1)
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:7]))
    writer.write_chunk(note(300, 1), 1, last=True)
    writer.finish()
    with Recording(tmp_path / "rec") as recording:
        assert recording.check() is None


KILLED = """
import sys
from relive.trace.events import Encoder, Event
from relive.trace.kinds import Kind
from relive.trace.writer import ChunkWriter
writer = ChunkWriter(sys.argv[1])
encoder = Encoder()
encoder.add(Event(Kind.META, extra={}))
number = 1
while True:
    for _ in range(20):
        encoder.add(Event(Kind.SYSCALL, 1, number % 1000, regs=[number] * 27, result=number))
        number += 1
    writer.write_chunk(*encoder.take())
    if number < 50:
        print("go", flush=True)
"""


def test_killed_at_any_moment(tmp_path: Path) -> None:
    r = random.Random()
    for i in range(10):
        path = tmp_path / f"rec{i}"
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, path],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"go\n"
            with Recording(path) as recording:
                assert recording.live
            time.sleep(r.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
        with Recording(path) as recording:
            assert not recording.live
            events = list(recording.events())
            assert len(events) % 20 == 1
            assert [e.result for e in events[1:]] == list(range(1, len(events)))
            assert recording.ended_early is not None
            assert not recording.damaged


def test_import_is_light() -> None:
    """Recording /bin/true must be quick to start: none of these on the writer's path."""
    code = (
        "import sys; before = set(sys.modules)\n"
        "import relive.trace.writer, relive.trace.store\n"
        "from relive.trace import codec; codec.compressor()(b'x')\n"
        "print(*(set(sys.modules) - before))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=env)
    imported = set(out.stdout.decode().split())
    heavy = {"json", "dataclasses", "inspect", "pathlib", "platform", "asyncio", "tempfile"}
    assert not imported & heavy
    assert "zstandard" not in imported


def test_large_chunk(tmp_path: Path) -> None:
    """Much more than the usual size, and compressible as memory often is."""
    encoder = Encoder()
    encoder.add(Event(Kind.META, extra={"long": "x" * (40 << 20)}))
    raw, n = encoder.take()
    writer = ChunkWriter(tmp_path / "rec")
    writer.write_chunk(raw, n, last=True)
    writer.finish()
    assert writer.stored_bytes < 100_000
    with Recording(tmp_path / "rec") as recording:
        assert next(recording.chunks()).raw == raw
        assert recording.ended_early is None


def test_chunk_beyond_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MAX_RAW", 1000)
    writer = ChunkWriter(tmp_path / "rec")
    writer.write_chunk(META, 1)
    with pytest.raises(TraceWriteError, match="the format allows 1000"):
        writer.write_chunk(note(2000, 1), 1)
    writer.finish()
    with Recording(tmp_path / "rec") as recording:
        assert [e.kind for e in recording.events()] == [Kind.META]
        assert not recording.complete


def test_reader_follows_a_growing_recording(tmp_path: Path) -> None:
    writer = ChunkWriter(tmp_path / "rec")
    writer.write_chunk(META, 1)
    for i in range(3):
        with Recording(tmp_path / "rec") as recording:
            assert recording.n_events == i + 1
            found = [len(list(decode_chunk(chunk.raw))) for chunk in recording.chunks()]
            assert found == [1] * (i + 1)
        writer.write_chunk(note(50, i), 1)
    writer.close()
