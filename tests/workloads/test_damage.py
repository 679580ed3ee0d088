"""Damaged recordings through the whole command: a clear message, the true beginning or nothing.

The rules for whatever was done to a recording: `replay -a` ends in time, prints no traceback,
what it prints is the beginning of what the program printed, and if that is not all, or the end is
another one, relive says why.

RELIVE_FUZZ says how many mutations of each kind there are.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workloads import harness
from tests.workloads.harness import Outcome

MUTATIONS = int(os.environ.get("RELIVE_FUZZ", "12"))

#: enough for any replay of this recording, were it whole
SECONDS = 30

#: A program of many processes whose output comes bit by bit, so that every cut shows.
SCRIPT = """
for i in $(seq 25); do /bin/echo "line $i"; done
seq 20000 | md5sum
for i in $(seq 400); do echo "short $i"; done
exit 4
"""

pytestmark = [pytest.mark.slow, pytest.mark.limit(60 + 4 * MUTATIONS)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A sound recording, and what the program did."""
    directory = tmp_path_factory.mktemp("whole")
    work = directory / "work"
    work.mkdir()
    recorded = harness.record(["bash", "-c", SCRIPT], directory / "recording", cwd=work)
    assert recorded.status == 4, recorded.stderr.decode()
    harness.same(recorded, harness.replay(directory / "recording"))
    return directory / "recording", recorded


def copy(recording: Path, to: Path) -> Path:
    """A copy that shares nothing with the original (whose files may be hard links)."""
    if to.exists():
        shutil.rmtree(to)
    shutil.copytree(recording, to)
    for path in to.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return to


def judge(damaged: Path, recorded: Outcome) -> Outcome:
    """Replay, and hold the outcome to the rules."""
    outcome = harness.replay(damaged, timeout=SECONDS)
    said = outcome.stderr.decode(errors="replace")
    assert b"Traceback" not in outcome.stderr, said
    assert recorded.stdout.startswith(outcome.stdout), harness.difference(
        "stdout", recorded.stdout, outcome.stdout
    )
    whole = outcome.stdout == recorded.stdout and outcome.status == recorded.status
    assert whole or outcome.messages, f"status {outcome.status} without a word: {said}"
    assert whole or outcome.status >= 0, f"killed by {-outcome.status}: {said}"
    assert outcome.program_stderr == b"", said
    return outcome


def chunk_ends(events: bytes) -> list[int]:
    """Where the chunks of a log end (docs/format.md)."""
    ends, at = [], 0
    while at < len(events):
        assert events[at : at + 4] == b"RLC1"
        at += 40 + int.from_bytes(events[at + 12 : at + 16], "little")
        ends.append(at)
    assert ends[-1] == len(events)
    return ends


def mutate(
    whole: tuple[Path, Outcome], tmp_path: Path, seed: int, change: Callable[[bytes, int], bytes]
) -> None:
    """Many times: the log changed by `change`, a function of its bytes and a random place."""
    recording, recorded = whole
    events = (recording / "events").read_bytes()
    source = random.Random(seed)
    damaged = copy(recording, tmp_path / "damaged")
    for _ in range(MUTATIONS):
        place = source.randrange(len(events))
        (damaged / "events").write_bytes(change(events, place))
        try:
            judge(damaged, recorded)
        except AssertionError as error:
            raise AssertionError(f"with byte {place} changed: {error}") from error


def test_cut_at_every_chunk(whole: tuple[Path, Outcome], tmp_path: Path) -> None:
    recording, recorded = whole
    events = (recording / "events").read_bytes()
    ends = chunk_ends(events)
    assert len(ends) >= 2
    damaged = copy(recording, tmp_path / "damaged")
    lengths = []
    for end in [0, *ends]:
        (damaged / "events").write_bytes(events[:end])
        outcome = judge(damaged, recorded)
        lengths.append(len(outcome.stdout))
    assert lengths == sorted(lengths)
    assert lengths[0] == 0 and lengths[-1] == len(recorded.stdout)
    assert any(0 < length < lengths[-1] for length in lengths), lengths


def test_cut_anywhere(whole: tuple[Path, Outcome], tmp_path: Path) -> None:
    mutate(whole, tmp_path, 1, lambda events, place: events[:place])


def test_bits_flipped(whole: tuple[Path, Outcome], tmp_path: Path) -> None:
    def flip(events: bytes, place: int) -> bytes:
        changed = bytearray(events)
        changed[place] ^= 1 << (place * 5 % 8)
        return bytes(changed)

    mutate(whole, tmp_path, 2, flip)


def test_bytes_replaced(whole: tuple[Path, Outcome], tmp_path: Path) -> None:
    noise = random.Random(3)

    def replace(events: bytes, place: int) -> bytes:
        size = noise.choice([1, 8, 100, 5000])
        return (events[:place] + noise.randbytes(size) + events[place + size :])[: len(events)]

    mutate(whole, tmp_path, 3, replace)


def test_chunks_moved(whole: tuple[Path, Outcome], tmp_path: Path) -> None:
    """Whole chunks left out, doubled, exchanged: each is sound, together they are not."""
    recording, recorded = whole
    events = (recording / "events").read_bytes()
    ends = chunk_ends(events)
    chunks = [events[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
    damaged = copy(recording, tmp_path / "damaged")
    first, *rest = chunks
    for changed in (rest, [first, *chunks], [first, *rest[1:]], [*chunks, first], [*rest, first]):
        (damaged / "events").write_bytes(b"".join(changed))
        assert judge(damaged, recorded).messages


def test_header_noise(whole: tuple[Path, Outcome], tmp_path: Path) -> None:
    """Chunk headers are where a reader believes too much: each of their bytes, changed."""
    recording, recorded = whole
    events = (recording / "events").read_bytes()
    damaged = copy(recording, tmp_path / "damaged")
    last = ([0, *chunk_ends(events)])[-2]
    for begin in (0, last):
        for at in range(0, 40, 3):
            for value in (0, 0xFF):
                changed = bytearray(events)
                if changed[begin + at] == value:
                    continue
                changed[begin + at] = value
                (damaged / "events").write_bytes(changed)
                assert judge(damaged, recorded).messages


def test_other_files(whole: tuple[Path, Outcome], tmp_path: Path) -> None:
    """The small files and the stored ones: missing, empty, from another time."""
    recording, recorded = whole

    def stored(damaged: Path) -> Path:
        return max((damaged / "files").iterdir(), key=lambda path: path.stat().st_size)

    def flip_stored(damaged: Path) -> None:
        content = bytearray(stored(damaged).read_bytes())
        content[len(content) // 2] ^= 1
        stored(damaged).write_bytes(content)

    def another_version(damaged: Path) -> None:
        (damaged / "version").write_text("relive recording\nformat 999\n")

    damages: list[Callable[[Path], object]] = [
        lambda damaged: (damaged / "version").unlink(),
        lambda damaged: (damaged / "version").write_bytes(b""),
        lambda damaged: (damaged / "version").write_bytes(b"\xff\x00" * 4000),
        another_version,
        lambda damaged: (damaged / "events").unlink(),
        lambda damaged: (damaged / "index").write_bytes(b"nonsense"),
        lambda damaged: stored(damaged).unlink(),
        lambda damaged: stored(damaged).write_bytes(b""),
        flip_stored,
        lambda damaged: shutil.rmtree(damaged / "files"),
    ]
    for number, damage in enumerate(damages):
        damaged = copy(recording, tmp_path / "damaged")
        damage(damaged)
        try:
            judge(damaged, recorded)
        except AssertionError as error:
            raise AssertionError(f"damage {number}: {error}") from error
