"""Evaluators for an ordinary user: all but those that load BPF programs."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workloads import harness
from tests.workloads.test_unprivileged import AS_NOBODY, as_nobody, open_directory

__all__ = ["as_nobody", "open_directory"]

Relive = tuple[tuple[str, ...], dict[str, str]]

pytestmark = [pytest.mark.root]


@pytest.mark.limit(150)
@pytest.mark.parametrize("loop", ["memory", "made"])
def test_evaluators(
    loop: str, compiled: Callable[[str], Path], as_nobody: Relive, open_directory: Path
) -> None:
    relive, env = as_nobody
    program = open_directory / "short_intervals"
    shutil.copy(compiled("short_intervals"), program)
    place = open_directory / "own"
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    recording = place / "recording"

    def run(*words: str | Path) -> harness.Outcome:
        return harness.run([*AS_NOBODY, *relive, *words], cwd=place, env=env, timeout=60)

    recorded = run("record", "-q", "-o", recording, "--", program, loop, "4")
    assert recorded.status == 0, recorded.stderr

    def replayed(evaluator: str) -> list[dict[str, object]]:
        stats = place / "stats"
        outcome = run(*("replay", "-a", "--evaluator", evaluator, "--stats-json", stats, recording))
        assert outcome.status == 0, outcome.stderr
        assert outcome.stdout == recorded.stdout
        landings: list[dict[str, object]] = json.loads(stats.read_text())["asynchronous"][
            "landings"
        ]
        assert landings
        return landings

    by_hand = [one["position"] for one in replayed("supervisor")]
    for evaluator in ("auto", "inprocess"):
        (recording / "index").unlink()
        searched, counted = replayed(evaluator), replayed(evaluator)
        assert [one["position"] for one in searched] == by_hand
        assert [one["position"] for one in counted] == by_hand
        assert all(one["counted"] for one in counted)
        assert not any(one["evaluator"] == "kernel" for one in searched)
    for evaluator in ("kernel", "uprobe"):
        refused = run("replay", "-a", "--evaluator", evaluator, recording)
        assert refused.status == 1
        assert f"the evaluator '{evaluator}' can't be used: ".encode() in refused.stderr
        assert b"Operation not permitted" in refused.stderr or b"Permission" in refused.stderr


@pytest.mark.limit(100)
def test_a_recording_that_may_only_be_read(
    compiled: Callable[[str], Path], as_nobody: Relive, open_directory: Path
) -> None:
    """It replays, and keeps no index."""
    relive, env = as_nobody
    recording = open_directory / "recording"
    command = [*harness.RELIVE, "record", "-q", "-o", str(recording), "--"]
    program = str(compiled("short_intervals"))
    subprocess.run([*command, program, "calls", "4"], check=True, timeout=60)
    for path in [recording, *recording.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    for _ in range(2):
        words = [*AS_NOBODY, *relive, "replay", "-a", str(recording)]
        outcome = harness.run(words, cwd=Path("/"), env=env, timeout=60)
        assert outcome.status == 0, outcome.stderr
    assert not (recording / "index").exists()
