"""What every benchmark shares: the machine in one line, alternating runs, medians, ratios.

Everything is measured against a native run of the same command in the same session: the variants
take turns, so that a change of the machine's mood meets all of them.  Native runs are pinned to one
core, because relive pins what it records, too.  Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import functools
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROGRAMS = Path(__file__).parent / "programs"
RELIVE = (sys.executable, "-m", "relive")

Command = Sequence[str | Path]

#: seconds after which a run is given up
LIMIT = 900


def machine() -> str:
    """The machine in one line: processor, cores, kernel, C library, Python, load."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    hypervisor = " (virtual)" if "hypervisor" in Path("/proc/cpuinfo").read_text() else ""
    return (
        f"{model}{hypervisor}, {os.cpu_count()} cores, Linux {platform.release()}, "
        f"{' '.join(platform.libc_ver())}, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.1f}"
    )


def one_core() -> int:
    """The core that native runs are pinned to: the last that we may use."""
    return max(os.sched_getaffinity(0))


@dataclass
class Sample:
    """One run: wall-clock seconds, exit status, peak memory of the started process in KiB."""

    seconds: float
    status: int
    peak: int


def run(command: Command, *, cwd: Path, pin: bool) -> Sample:
    """Run once with the output thrown away.  pin: to one core."""
    words = [str(word) for word in command]
    setter = functools.partial(os.sched_setaffinity, 0, {one_core()}) if pin else None
    before = time.perf_counter()
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=cwd,
        preexec_fn=setter,
    )
    _, wait_status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - before
    process.returncode = os.waitstatus_to_exitcode(wait_status)
    return Sample(seconds, process.returncode, usage.ru_maxrss)


@dataclass
class Figures:
    """Samples of the variants of one command, by name."""

    samples: dict[str, list[Sample]] = field(default_factory=dict)
    #: bytes of the event log, of the stored files; events: of the last recording
    log_bytes: int = 0
    stored_bytes: int = 0
    events: int = 0
    #: replays that did not end as the recorded program did
    bad_replays: int = 0

    def seconds(self, variant: str) -> float:
        """The median of a variant."""
        return statistics.median(sample.seconds for sample in self.samples[variant])

    def peak(self, variant: str) -> int:
        """The highest peak memory of a variant, KiB."""
        return max(sample.peak for sample in self.samples[variant])

    def ratio(self, variant: str, to: str = "native") -> float:
        """Median against median."""
        return self.seconds(variant) / self.seconds(to)

    def spread(self, variant: str, to: str = "native") -> str:
        """The lowest and the highest ratio of a round."""
        ratios = [
            one.seconds / other.seconds
            for one, other in zip(self.samples[variant], self.samples[to], strict=False)
        ]
        return f"{min(ratios):.2f}-{max(ratios):.2f}"


def facts(recording: Path) -> tuple[int, int, int]:
    """Bytes of the event log, bytes of the stored files, number of events."""
    log = (recording / "events").read_bytes()  # docs/format.md draws the chunk header
    events = at = 0
    while at + 40 <= len(log):
        events += int.from_bytes(log[at + 20 : at + 24], "little")
        at += 40 + int.from_bytes(log[at + 12 : at + 16], "little")
    files = recording / "files"
    stored_bytes = sum(path.stat().st_size for path in files.iterdir()) if files.exists() else 0
    return len(log), stored_bytes, events


def measure(
    command: Command,
    *,
    rounds: int,
    prepare: Callable[[Path], None] | None = None,
    replays: int = 1,
    pin: bool = False,
) -> Figures:
    """Native, record and replay in turn, `rounds` times; each native and recorded run in a new
    directory filled by `prepare`; `replays` replays of each recording.

    pin: relive and what it records to the core of the native runs, too.  Otherwise relive chooses
    a core, and its own threads may use the others."""
    figures = Figures({"native": [], "record": [], "replay": []})
    with tempfile.TemporaryDirectory(prefix="relive-bench-") as text:
        place = Path(text)

        def fresh() -> Path:
            shutil.rmtree(place / "work", ignore_errors=True)
            (place / "work").mkdir()
            if prepare:
                prepare(place / "work")
            return place / "work"

        for _ in range(rounds):
            native = run(command, cwd=fresh(), pin=True)
            figures.samples["native"].append(native)
            recording = place / "recording"
            shutil.rmtree(recording, ignore_errors=True)
            shutil.rmtree(place / ".store", ignore_errors=True)
            record = [*RELIVE, "record", "-q", "-o", recording, "--", *command]
            recorded = run(record, cwd=fresh(), pin=pin)
            figures.samples["record"].append(recorded)
            for _ in range(replays):
                replayed = run([*RELIVE, "replay", "-a", recording], cwd=place, pin=pin)
                figures.samples["replay"].append(replayed)
                figures.bad_replays += replayed.status != recorded.status
        figures.log_bytes, figures.stored_bytes, figures.events = facts(recording)
    return figures


@contextmanager
def compiled(*names: str) -> Iterator[Path]:
    """A directory with programs of bench/programs, compiled."""
    with tempfile.TemporaryDirectory(prefix="relive-bench-programs-") as text:
        for name in names:
            subprocess.run(
                ["gcc", "-O2", "-Wall", "-o", f"{text}/{name}", PROGRAMS / f"{name}.c"], check=True
            )
        yield Path(text)


@contextmanager
def silenced() -> Iterator[None]:
    """What this process starts meanwhile prints nothing."""
    sys.stdout.flush()
    saved, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)
    try:
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


def parser(description: str, *, rounds: int) -> argparse.ArgumentParser:
    """The options all benchmarks have."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--rounds", type=int, default=rounds, help=f"default {rounds}")
    return made


def verdict(reached: bool) -> str:
    """What is said of a goal."""
    return "reached" if reached else "**missed**"


def title(text: str) -> None:
    """The heading of a figure, with the machine."""
    print(f"\n## {text}\n\n{machine()}\n", flush=True)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A Markdown table, row by row as they come."""
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head), flush=True)
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)
