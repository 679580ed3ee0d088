"""Landmarks that fit several places: a divergence leads back to the right one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from relive.errors import DivergenceError
from relive.replay.rewind import Checkpoint
from relive.replay.session import Session
from relive.replay.session import replay as replay_through
from relive.replay.tasks import Task
from relive.trace.reader import Recording
from tests.replay.conftest import record
from tests.workloads import harness

Compiled = Callable[[str], Path]


def replay(recording: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    command = [*harness.RELIVE, "replay", "-a", *options, str(recording)]
    return subprocess.run(command, capture_output=True, timeout=100)


@pytest.mark.limit(150)
def test_the_right_place_is_found(compiled: Compiled, tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    recorded = record([compiled("equal_places"), "3"], recording)
    assert recorded.returncode == 0, recorded.stderr
    assert len(recorded.stdout.split()) >= 3
    # without going back, the first place is taken, and what the handler prints tells
    with pytest.raises(DivergenceError):
        replay_through(recording, echo=False, retries=0)
    at_once = replay(recording, "--retries", "0")
    assert at_once.returncode == harness.DIVERGED
    assert b"relive: note" not in at_once.stderr
    (recording / "index").unlink(missing_ok=True)
    first = replay(recording)
    assert (first.returncode, first.stdout) == (0, recorded.stdout), first.stderr
    assert b"places, of which number" in first.stderr
    # the index knows now
    second = replay(recording)
    assert (second.returncode, second.stdout, second.stderr) == (0, recorded.stdout, b"")


def test_a_divergence_that_stays_is_told_once(compiled: Compiled, tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    assert record([compiled("equal_places"), "2"], recording).returncode == 0
    with pytest.raises(DivergenceError, match="fits several places; none led on"):
        replay_through(recording, echo=False, retries=1)


class Rewinding(Session):
    """Runs each interval that ends in a landmark twice."""

    pages = 0

    def _find_landmark(self, number: int, task: Task) -> None:
        with Checkpoint(self, task) as start:
            super()._find_landmark(number, task)
            self.pages += start.restore()
            super()._find_landmark(number, task)
            self.pages += start.restore()
            super()._find_landmark(number, task)


@pytest.mark.parametrize("name", ["rewound"])
def test_intervals_can_be_run_again(compiled: Compiled, tmp_path: Path, name: str) -> None:
    """Registers, vector registers, private and shared memory, a stack that grows."""
    recording = tmp_path / "recording"
    recorded = record(
        [compiled(name)], recording, options=["-c", "1", "--verify-memory=events"], timeout=100
    )
    assert recorded.returncode == 0, recorded.stderr
    with Recording(recording) as opened:
        session = Rewinding(opened, echo=False)
        session.run()
    assert session.status == 0
    assert len(session.landmarks) > 10
    assert session.pages > 10
    assert session.verified > 10
