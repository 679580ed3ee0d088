"""Programs chosen to be hard: each prints a number that depends on where its asynchronous events
landed.  Recorded with the memory's digests at every stop, replayed, compared.

RELIVE_LONG=1: more landings, 20 replays each.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.workloads import harness

PROGRAMS = Path(__file__).parent / "programs"
LONG = os.environ.get("RELIVE_LONG") == "1"
REPLAYS = 20 if LONG else 2
LANDINGS = 200 if LONG else 25
SKIPPED = 77

#: Options of `record`: short slices where tasks wait for each other.
OPTIONS = ("-c", "1")
#: Landings where each is dear: a thread spins for a whole slice.
FEWER = {"spin_locks": 10}


@pytest.fixture(scope="session")
def binaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is missing")
    return tmp_path_factory.mktemp("asynchronous")


def compiled(source: Path, directory: Path) -> Path:
    binary = directory / source.stem
    if not binary.exists():
        flags = ["-O1", "-g", "-Wall", "-Wextra", "-pthread"]
        subprocess.run(["gcc", *flags, "-o", binary, source], check=True, timeout=60)
    return binary


def check(
    command: Sequence[str | Path], directory: Path, *, options: Sequence[str] = OPTIONS
) -> tuple[harness.Outcome, list[bytes]]:
    """Records and replays; the recorded run and the statistics of the replays."""
    recording = directory / "recording"
    recorded = harness.run(
        [
            *harness.RELIVE,
            *("record", "-q", "--verify-memory=events", *options),
            *("-o", recording, "--", *command),
        ],
        cwd=directory,
        timeout=300 if LONG else 50,
    )
    statistics = []
    for _ in range(REPLAYS):
        replayed = harness.run(
            [*harness.RELIVE, "replay", "-a", "--stats", recording],
            cwd=directory,
            timeout=300 if LONG else 50,
        )
        lines = replayed.stderr.splitlines(True)
        statistics.append(b"".join(line for line in lines if line.startswith(b"relive: ")))
        assert replayed.status == recorded.status, replayed.stderr.decode()
        assert replayed.stdout == recorded.stdout, replayed.stderr.decode()
    return recorded, statistics


def status_of(source: Path) -> int:
    found = re.search(r"@status (\w+)", source.read_text().split("*/")[0])
    return -signal.Signals[found[1]] if found else 0


#: Whose end depends on the scheduling (test_chaos.py).
ELSEWHERE = {"lock_free_aba"}
SOURCES = [p for p in sorted(PROGRAMS.glob("*.c")) if p.stem not in ELSEWHERE]


@pytest.mark.limit(400 if LONG else 60)
@pytest.mark.parametrize("source", SOURCES, ids=[s.stem for s in SOURCES])
def test_program(source: Path, binaries: Path, tmp_path: Path) -> None:
    landings = min(LANDINGS, FEWER.get(source.stem, LANDINGS))
    command: list[str | Path] = [compiled(source, binaries), str(landings)]
    recorded, statistics = check(command, tmp_path)
    if recorded.status == SKIPPED:
        pytest.skip(recorded.stdout.decode().strip())
    assert recorded.status == status_of(source), recorded.stderr.decode()
    assert b"mappings compared" in statistics[0]


@pytest.mark.limit(400 if LONG else 60)
def test_heap_that_grows_over_what_the_search_maps(tmp_path: Path) -> None:
    """In a program at a low address, there is room only where the heap will be."""
    binary = tmp_path / "growing_heap"
    source = PROGRAMS / "growing_heap.c"
    flags = ["-O1", "-g", "-no-pie"]
    subprocess.run(["gcc", *flags, "-o", binary, source], check=True, timeout=60)
    recorded, _ = check([binary, str(LANDINGS)], tmp_path)
    assert recorded.status == 0, recorded.stderr.decode()


@pytest.mark.limit(400 if LONG else 60)
@pytest.mark.parametrize("name", ["interpreted.py", "python_threads.py"])
def test_python(name: str, tmp_path: Path) -> None:
    recorded, _ = check([sys.executable, PROGRAMS / name, str(LANDINGS)], tmp_path)
    assert recorded.status == 0, recorded.stderr.decode()


@pytest.mark.limit(400 if LONG else 60)
def test_perl(tmp_path: Path) -> None:
    if shutil.which("perl") is None:
        pytest.skip("perl is missing")
    recorded, _ = check(["perl", PROGRAMS / "interpreted.pl", str(LANDINGS)], tmp_path)
    assert recorded.status == 0, recorded.stderr.decode()


@pytest.mark.limit(400 if LONG else 60)
def test_lua(tmp_path: Path, binaries: Path) -> None:
    """Beside itself, so that time slices end in it."""
    lua = shutil.which("lua") or shutil.which("lua5.4")
    if lua is None:
        pytest.skip("lua is missing")
    script = f"{lua} {PROGRAMS}/interpreted.lua {LANDINGS} & {lua} {PROGRAMS}/interpreted.lua; wait"
    recorded, _ = check(["sh", "-c", script], tmp_path)
    assert recorded.status == 0, recorded.stderr.decode()
