"""A recording survives its recorder: killed at any moment, or with no room left on the disk.

RELIVE_KILLS says how often the recorder is killed.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workloads import harness
from tests.workloads.harness import Outcome

KILLS = int(os.environ.get("RELIVE_KILLS", "10"))

#: Output that comes bit by bit from several processes; the longest-lived one last.
SCRIPT = """
for i in $(seq 30); do /bin/echo "line $i"; done
(for i in $(seq 200); do echo "inner $i"; done) | cat
for i in $(seq 300); do echo "short $i"; done
"""

pytestmark = [pytest.mark.slow]


def kill_after(recording: Path, count: int, work: Path) -> None:
    """Record SCRIPT; kill the recorder with SIGKILL once `count` bytes of output have come."""
    with subprocess.Popen(
        [*harness.RELIVE, "record", "-q", "-o", recording, "--", "bash", "-c", SCRIPT],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=work,
        start_new_session=True,
    ) as process:
        assert process.stdout
        left = count
        while left > 0 and (block := os.read(process.stdout.fileno(), left)):
            left -= len(block)
        process.send_signal(signal.SIGKILL)
        # End of file: every recorded process that held the pipe has died with the recorder.
        while os.read(process.stdout.fileno(), 65536):
            pass


def judge_prefix(recording: Path, expected: bytes) -> Outcome:
    """Replay what there is of a recording: the beginning of `expected`, and a word about it."""
    outcome = harness.replay(recording)
    said = outcome.stderr.decode(errors="replace")
    assert "Traceback" not in said, said
    assert outcome.status != harness.DIVERGED, said
    assert expected.startswith(outcome.stdout), harness.difference(
        "stdout", expected, outcome.stdout
    )
    assert outcome.messages, "not a word about the early end"
    return outcome


@pytest.mark.limit(60 + 3 * KILLS)
def test_recorder_killed(tmp_path: Path) -> None:
    native = harness.run(["bash", "-c", SCRIPT], cwd=tmp_path)
    source = random.Random(KILLS)
    some_output = 0
    for number in range(KILLS):
        # From the very start, before anything was started, to the last line.
        count = 0 if number == 0 else source.randrange(len(native.stdout))
        recording = tmp_path / f"killed-{number}"
        kill_after(recording, count, tmp_path)
        if not recording.exists():  # killed before it could make one
            assert count == 0
            continue
        outcome = judge_prefix(recording, native.stdout)
        some_output += bool(outcome.stdout)
        shutil.rmtree(recording)
    assert some_output or KILLS < 10


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for a few hundred kilobytes."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small tmpfs needs root and mount(8)")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "none", place], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


#: Much to record: random bytes do not compress, and each is read by the program.
GREEDY = """
for i in $(seq 40); do head -c 500000 /dev/urandom | wc -c; done
echo "the end"
exit 6
"""


@pytest.mark.root
def test_disk_full(small_disk: Path, tmp_path: Path) -> None:
    native = harness.run(["bash", "-c", GREEDY], cwd=tmp_path)
    assert native.status == 6
    recording = small_disk / "recording"
    recorded = harness.record(["bash", "-c", GREEDY], recording, cwd=tmp_path, verify_memory=False)
    assert recorded.stdout == native.stdout, "the program noticed"
    assert recorded.status == native.status
    assert b"No space left" in recorded.messages or b"disk" in recorded.messages, recorded.stderr
    assert b"Traceback" not in recorded.stderr
    outcome = judge_prefix(recording, native.stdout)
    assert outcome.stdout
