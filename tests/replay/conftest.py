"""Programs compiled and recorded for the tests of replaying."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.workloads import harness

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A program of tests/replay/programs, by name."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is missing")
    directory = tmp_path_factory.mktemp("replay")

    def compile_one(name: str) -> Path:
        binary = directory / name
        if not binary.exists():
            flags = ["-O1", "-g", "-Wall", "-Wextra", "-pthread"]
            source = PROGRAMS / f"{name}.c"
            subprocess.run(["gcc", *flags, "-o", binary, source], check=True, timeout=60)
        return binary

    return compile_one


def record(
    command: Sequence[str | Path],
    recording: Path,
    *,
    options: Sequence[str] = (),
    stdin: bytes = b"",
    timeout: float = 50,
) -> subprocess.CompletedProcess[bytes]:
    """Records a command; its stdin is a pipe."""
    return subprocess.run(
        [
            *harness.RELIVE,
            *("record", "-q", *options, "-o", str(recording), "--"),
            *(str(word) for word in command),
        ],
        input=stdin,
        capture_output=True,
        timeout=timeout,
    )
