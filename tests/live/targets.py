"""Programs that the tests of live programs watch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relive import live
from relive.live import supervised

PROGRAMS = Path(__file__).parent / "programs"
LONG = os.environ.get("RELIVE_LONG") == "1"
HITS = 1_000_000 if LONG else 20_000
"""Hits that all evaluators have to count the same."""

EVALUATORS: tuple[live.EvaluatorName, ...] = live.ORDER
NEVER = "rax == 0x1234567890abcd"
"""A condition that no hit satisfies."""


def build(directory: Path, name: str, *options: str) -> Path:
    """Compile a program of tests/live/programs."""
    made = directory / name
    sources: list[str | Path] = [PROGRAMS / f"{name}.c"]
    if (PROGRAMS / f"{name}.S").exists():
        sources.append(PROGRAMS / f"{name}.S")
    flags = ["-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"]
    subprocess.run(["cc", *flags, *options, "-o", made, *sources, "-ldl"], check=True, timeout=60)
    return made


@contextmanager
def output_to(path: Path) -> Iterator[None]:
    """What this process starts meanwhile writes its standard output there."""
    sys.stdout.flush()
    saved = os.dup(1)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(file, 1)
    os.close(file)
    try:
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


@contextmanager
def past(**options: Any) -> Iterator[None]:
    """Make the supervisor go past its breakpoints in one way only (supervised.arm's options)."""
    original = supervised.arm

    def arm(process: live.Process, wanted: Any) -> supervised.Supervised | str:
        return original(process, wanted, **options)

    supervised.arm = arm  # type: ignore[assignment]
    try:
        yield
    finally:
        supervised.arm = original


@dataclass
class Ran:
    """A program that ended under a session."""

    status: int
    output: str
    counts: list[live.Counts]
    events: list[live.Event]
    sites: list[live.Site]
    records: list[live.Record]


def run_under(
    directory: Path,
    command: Sequence[str | Path],
    requests: Sequence[live.Request],
    *,
    follow: bool = False,
    timeout: float = 550 if LONG else 50,
) -> Ran:
    """Start a program with sites and let it end."""
    output = directory / "output"
    events: list[live.Event] = []
    status = -1
    with live.Session(follow=follow) as session:
        with output_to(output):
            first = session.start([str(word) for word in command]).pid
        sites = session.add_all(requests)
        records: list[live.Record] = []
        for event in session.events(timeout):
            records += session.records()
            if isinstance(event, live.Exited) and event.pid == first:
                status = event.status
            events.append(event)
        records += session.records()
    counts = [site.counts() for site in sites]
    return Ran(status, output.read_text(), counts, events, sites, records)


def natively(command: Sequence[str | Path]) -> str:
    """What the program prints by itself."""
    done = subprocess.run(list(command), capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


class Service:
    """A program that runs until its standard input is closed."""

    def __init__(self, command: Sequence[str | Path]) -> None:
        self.process = subprocess.Popen(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        self.pid = self.process.pid

    def finish(self) -> tuple[int, str]:
        """End it: exit status and what it printed."""
        output, _ = self.process.communicate(timeout=30)
        return self.process.returncode, output

    def kill(self) -> None:
        """When the test failed."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
