"""What all tests share: a time limit each, and the command line as a fixture."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

#: seconds a test may take unless it says otherwise with @pytest.mark.limit
LIMIT = 60.0

Relive = Callable[..., subprocess.CompletedProcess[str]]


# A shell that starts a job in the background has it ignore SIGINT; what the tests start must not.
signal.signal(signal.SIGINT, signal.default_int_handler)


class TimeUp(Exception):
    """The test took longer than it may."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """End a test that hangs: the others should still run."""
    mark = item.get_closest_marker("limit")
    seconds = float(mark.args[0]) if mark else LIMIT

    def ring(number: int, frame: object) -> None:
        raise TimeUp(f"the test took more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def trace_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty place for recordings, which relive uses during the test."""
    directory = tmp_path / "recordings"
    directory.mkdir(mode=0o700)
    monkeypatch.setenv("RELIVE_TRACE_DIR", str(directory))
    yield directory


@pytest.fixture
def relive(trace_dir: Path) -> Relive:
    """Run the command line: `relive("ls", "-1", check=True)`.

    Keywords: check (the exit status must be 0), input (text), timeout (seconds), env (more
    variables), cwd.
    """

    def run(
        *args: object,
        check: bool = False,
        input: str = "",  # noqa: A002
        timeout: float = 30,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            [sys.executable, "-m", "relive", *map(str, args)],
            input=input,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            timeout=timeout,
            env={**os.environ, **(env or {})},
            cwd=cwd,
        )
        if check:
            assert result.returncode == 0, result.stderr
        return result

    return run
