"""Damaged recordings: an early end with its reason or a RecordingError; never a wrong event."""

from __future__ import annotations

import os
import random
import resource
import struct
from pathlib import Path

import pytest
import xxhash

from relive.errors import RecordingError
from relive.trace import codec
from relive.trace.events import Event, encode_events
from relive.trace.kinds import Kind
from relive.trace.reader import Recording


def read(path: Path) -> tuple[list[Event], str | None, bool]:
    """What can be read, why it ended early, and whether that is damage."""
    with Recording(path) as recording:
        events = []
        try:
            for event in recording.events():
                events.append(event)
        except RecordingError as e:
            return events, str(e), True
        return events, recording.ended_early, recording.damaged


def boundaries(log: bytes) -> list[int]:
    found = [0]
    while found[-1] < len(log):
        stored = codec.HEADER.unpack_from(log, found[-1])[3]
        found.append(found[-1] + codec.HEADER_SIZE + stored)
    return found


def test_whole(recording: Path, events: list[Event]) -> None:
    assert read(recording) == (events, None, False)
    with Recording(recording) as r:
        assert r.complete
        assert not r.live
        assert r.meta == {"argv": ["/bin/true"], "env": {"A": "\udcff"}}
        assert (r.n_events, r.n_chunks, r.check()) == (60, 6, None)
        assert r.size == (recording / "events").stat().st_size
        for n in (0, 9, 10, 35, 59):
            chunk = r.chunk_at(n)
            assert chunk.first_event <= n < chunk.first_event + chunk.n_events
            assert chunk.last == (n >= 50)
            assert list(r.events(n)) == events[n:]
        for n in (-1, 60, 1 << 63):
            with pytest.raises(RecordingError, match="has no event"):
                r.chunk_at(n)
        assert list(r.events(60)) == []


@pytest.mark.parametrize("complete", [True, False])
def test_truncated_anywhere(recording: Path, events: list[Event], complete: bool) -> None:
    log = (recording / "events").read_bytes()
    ends = boundaries(log)
    assert len(ends) == 7
    if not complete:
        (recording / "version").rename(recording / "incomplete")
    for size in range(len(log) - 1, -1, -1):
        os.truncate(recording / "events", size)
        found, why, damaged = read(recording)
        whole = sum(end <= size for end in ends) - 1
        assert found == events[: 10 * whole]
        assert why is not None
        assert damaged == complete
        assert ("the log is cut short" if complete else "the recorder was stopped") in why
        assert ("it has no events" if whole == 0 else f"event {10 * whole - 1}") in why
        if size in ends:
            assert "lacks" not in why
            assert "is cut at" not in why


@pytest.mark.parametrize("complete", [True, False])
def test_flipped_bits(recording: Path, events: list[Event], complete: bool) -> None:
    """3000 flips of one bit, 1000 of worse; every bit of every header among the first."""
    path = recording / "events"
    log = path.read_bytes()
    ends = boundaries(log)
    if not complete:
        (recording / "version").rename(recording / "incomplete")
    r = random.Random(7)
    headers = [(start + i, bit) for start in ends[:2] for i in range(40) for bit in range(8)]
    flips = headers + [(r.randrange(len(log)), r.randrange(8)) for _ in range(3000 - len(headers))]
    for at, bit in flips:
        damaged = bytearray(log)
        damaged[at] ^= 1 << bit
        path.write_bytes(damaged)
        found, why, _ = read(recording)
        whole = sum(end <= at for end in ends) - 1
        assert found == events[: 10 * whole], (at, bit)
        assert why is not None
    for _ in range(1000):
        damaged = bytearray(log)
        for _ in range(r.randrange(1, 5)):
            at = r.randrange(len(damaged))
            match r.randrange(4):
                case 0:
                    damaged[at : at + 40] = r.randbytes(40)
                case 1:
                    del damaged[at : at + r.randrange(1, 60)]
                case 2:
                    damaged[at:at] = r.randbytes(r.randrange(1, 60))
                case 3:  # chunks swapped, doubled
                    a, b = sorted(r.sample(ends, 2))
                    damaged[at:at] = log[a:b]
        path.write_bytes(damaged)
        found, _, _ = read(recording)
        assert found == events[: len(found)]


def test_something_after_the_end(recording: Path, events: list[Event]) -> None:
    with (recording / "events").open("ab") as f:
        f.write(b"RLC1 and more")
    found, why, damaged = read(recording)
    assert found == events
    assert damaged
    assert why is not None
    assert "13 bytes" in why


def test_chunk_after_a_damaged_one_is_the_right_one(recording: Path, events: list[Event]) -> None:
    path = recording / "events"
    log = bytearray(path.read_bytes())
    log[boundaries(bytes(log))[2] - 1] ^= 1
    path.write_bytes(log)
    with Recording(recording) as r:
        with pytest.raises(RecordingError, match="damaged in chunk 1"):
            r.chunk_at(12)
        assert list(r.events(20)) == events[20:]


def chunk(
    payload: bytes, raw_len: int, n_events: int, *, flags: int = 1, stored: int | None = None
) -> bytes:
    """A first chunk with a right checksum, whatever else is wrong with it."""
    front = struct.pack(
        "<4sIIIIIQ",
        b"RLC1",
        flags,
        0,
        len(payload) if stored is None else stored,
        raw_len,
        n_events,
        0,
    )
    return front + struct.pack("<Q", xxhash.xxh3_64_intdigest(bytes(8) + front + payload)) + payload


RAW = encode_events([Event(Kind.META, extra={})])
FRAME = codec.compressor()(RAW)
BOMB = codec.compressor()(bytes(64 << 20))


@pytest.mark.parametrize(
    ("log", "says"),
    [
        (chunk(FRAME, len(RAW) + 16, 1), "where 38 are announced"),
        (chunk(FRAME, len(RAW), 0), "0 events don't take"),
        (chunk(FRAME, len(RAW), 2), "2 events don't take"),
        (chunk(FRAME, 0, 0, flags=0), "empty and not the last"),
        (chunk(b"", 0, 0), "damaged"),
        (chunk(b"", 1 << 29, 1), "can't come from"),
        (chunk(FRAME, 1 << 31, 1), "beyond the format's limits"),
        (chunk(FRAME, 1 << 29, 1), "can't come from"),
        (chunk(FRAME, len(RAW), 1, flags=3), "unknown flags"),
        (chunk(FRAME, len(RAW), 1, stored=0xFFFFFFFF), "beyond the format's limits"),
        (chunk(FRAME, len(RAW), 1, stored=1 << 29), "lacks"),
        (chunk(FRAME + b"\0", len(RAW), 1), "damaged"),
        (chunk(b"not zstd at all.", len(RAW), 1), "damaged"),
        (chunk(BOMB, 4000, 1), "67108864 bytes where 4000"),
        (chunk(FRAME[:-3], len(RAW), 1), "damaged"),
    ],
)
def test_forged_chunks(recording: Path, log: bytes, says: str) -> None:
    (recording / "events").write_bytes(log)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found, why, damaged = read(recording)
    assert found == []
    assert damaged
    assert why is not None
    assert says in why
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 << 10  # KiB


def test_forged_events(recording: Path) -> None:
    """A right checksum does not make the events right."""
    other = encode_events([Event(Kind.NOTE, extra={})])
    for raw, says in (
        (RAW + RAW, "META is event 0"),
        (other, "META is event 0"),
        (RAW + bytes(16), "size 0"),
    ):
        (recording / "events").write_bytes(chunk(codec.compressor()(raw), len(raw), 1))
        found, why, _ = read(recording)
        assert len(found) <= 1
        assert why is not None
        assert says in why


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("relive recording\nformat 2\n", "newer relive"),
        ("relive recording\nformat 0\n", "older relive"),
        ("relive recording\nformat x\n", "not that of a recording"),
        ("relive recording\nformat -1\n", "not that of a recording"),
        ("relive recording\nformat 1", "not that of a recording"),
        ("relive recording\nformat " + "9" * 5000 + "\n", "not that of a recording"),
        ("something else\nformat 1\n", "not that of a recording"),
        ("", "not that of a recording"),
        ("\0\xff\n\n\n", "not that of a recording"),
    ],
)
def test_versions(recording: Path, text: str, says: str) -> None:
    (recording / "version").write_text(text, encoding="latin-1")
    with pytest.raises(RecordingError, match=says):
        Recording(recording)


def test_not_a_recording(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="No such file"):
        Recording(tmp_path / "none")
    with pytest.raises(RecordingError, match="neither"):
        Recording(tmp_path)
    (tmp_path / "version").write_text(codec.MARKER_TEXT)
    with pytest.raises(RecordingError, match="events"):
        Recording(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(RecordingError, match="Not a directory"):
        Recording(tmp_path / "file")


@pytest.mark.parametrize("name", ["events", "version"])
def test_links_and_devices_are_refused(recording: Path, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (recording / name).rename(elsewhere)
    (recording / name).symlink_to(elsewhere)
    with pytest.raises(RecordingError):
        Recording(recording)
    (recording / name).unlink()
    os.mkfifo(recording / name)  # must not block
    with pytest.raises(RecordingError, match="not a plain file"):
        Recording(recording)
    (recording / name).unlink()
    (recording / name).mkdir()
    with pytest.raises(RecordingError, match="not a plain file"):
        Recording(recording)


def test_a_recording_may_be_named_by_a_link(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(recording)
    assert read(tmp_path / "latest")[1] is None


def test_empty_recording(recording: Path) -> None:
    (recording / "version").rename(recording / "incomplete")
    os.truncate(recording / "events", 0)
    with Recording(recording) as r, pytest.raises(RecordingError, match="holds no events"):
        _ = r.meta


def test_log_that_shrinks_while_it_is_read(recording: Path, events: list[Event]) -> None:
    with Recording(recording) as r:
        chunks = r.chunks()
        next(chunks)
        assert r.n_chunks == 6
        os.truncate(recording / "events", codec.HEADER_SIZE)
        assert list(chunks) == []
        assert r.ended_early is not None
        assert "shorter" in r.ended_early


def test_reading_writes_nothing(recording: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in [recording, *recording.rglob("*")]}
    read(recording)
    assert {p: p.stat().st_mtime_ns for p in [recording, *recording.rglob("*")]} == before
