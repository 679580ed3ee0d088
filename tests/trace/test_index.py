"""The index: what is read is what was written, or nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relive.trace import index
from relive.trace.index import Position, decode, encode
from relive.trace.reader import Recording
from tests.trace.conftest import make_events, write_recording

words = st.integers(0, (1 << 64) - 1)
maps = st.dictionaries(
    words, st.builds(Position, words, st.integers(1, (1 << 64) - 1)), max_size=20
)


@given(words, maps)
def test_round_trip(log: int, positions: dict[int, Position]) -> None:
    assert decode(encode(log, positions), log) == positions


@given(words, maps, st.data())
def test_damage(log: int, positions: dict[int, Position], data: st.DataObject) -> None:
    whole = encode(log, positions)
    assert decode(whole, log ^ 1) == {}
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert decode(whole[:cut], log) == {}
    assert decode(whole + b"\0", log) == {}
    at, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    spoilt = bytearray(whole)
    spoilt[at] ^= 1 << bit
    assert decode(bytes(spoilt), log) == {}


@given(st.binary(max_size=200), words)
def test_anything(content: bytes, log: int) -> None:
    assert decode(content, log) == {}


def test_unknown_sections_are_passed_over() -> None:
    positions = {7: Position(1, 2)}
    plain = encode(1, positions)
    head, sections = plain[:16], plain[24:] + index._SECTION.pack(99, 0, 3) + b"abc"
    assert (
        decode(head + index._CHECKSUM.pack(index._sum(head, sections)) + sections, 1) == positions
    )


@pytest.mark.parametrize("body", [(5, 1, 1, 5, 1, 1), (5, 1, 1, 4, 1, 1), (5, 1, 0), (5, 1)])
def test_sections_that_make_no_sense(body: tuple[int, ...]) -> None:
    data = b"".join(number.to_bytes(8, "little") for number in body)
    head, sections = encode(1, {})[:16], index._SECTION.pack(1, 0, len(data)) + data
    assert decode(head + index._CHECKSUM.pack(index._sum(head, sections)) + sections, 1) == {}


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "recording"
    write_recording(path, make_events(50), 20)
    return path


POSITIONS = {3: Position(0x1000, 5), 9: Position(0x1004, 1)}


def test_files(recording: Path) -> None:
    with Recording(recording) as opened:
        assert index.read(opened) == {}
        assert index.write(opened, POSITIONS)
        assert index.read(opened) == POSITIONS
        assert index.write(opened, {})
        assert index.read(opened) == {}
    assert stat.S_IMODE((recording / "index").stat().st_mode) == 0o600
    assert not [path for path in recording.iterdir() if "tmp" in path.name]


def test_a_log_that_grew(recording: Path) -> None:
    """The index of a recording that was cut belongs to the part that is there."""
    log = (recording / "events").read_bytes()
    with Recording(recording) as opened:
        assert index.write(opened, POSITIONS)
    (recording / "events").write_bytes(log[: len(log) // 2])
    with Recording(recording) as opened:
        assert index.read(opened) == {}


@pytest.mark.parametrize("kind", ["directory", "link", "fifo"])
def test_what_is_not_a_plain_file(kind: str, recording: Path, tmp_path: Path) -> None:
    with Recording(recording) as opened:
        assert index.write(opened, POSITIONS)
        moved = tmp_path / "moved"
        (recording / "index").rename(moved)
        if kind == "directory":
            (recording / "index").mkdir()
        elif kind == "link":
            (recording / "index").symlink_to(moved)
        else:
            os.mkfifo(recording / "index")
        assert index.read(opened) == {}
        assert index.write(opened, POSITIONS) == (kind != "directory")


def test_a_directory_that_is_gone(recording: Path) -> None:
    with Recording(recording) as opened:
        recording.rename(recording.with_name("elsewhere"))
        assert not index.write(opened, POSITIONS)
        assert index.read(opened) == {}


def test_a_full_disk(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Recording(recording) as opened:
        assert index.write(opened, POSITIONS)

        def full(path: Path, target: Path) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "rename", full)
        assert not index.write(opened, {1: Position(2, 3)})
        assert index.read(opened) == POSITIONS
    assert not [path for path in recording.iterdir() if "tmp" in path.name]
