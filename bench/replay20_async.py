"""Programs full of asynchronous events, each recorded once and replayed 20 times; a million
handovers between two spinning threads; a reuse bug in a lock-free stack, plainly and in chaos mode.

Recorded with --verify-memory=events: after each asynchronous stop the whole private writable memory
is compared with what was recorded.  Goal: no divergence.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import common

PROGRAMS = common.ROOT / "tests" / "asynchronous" / "programs"
CALM = 24  # chaos mode's seeds, and plain recordings beside them


@dataclass(frozen=True)
class Program:
    """What to record.  source: in C, Go, Python or for the shell; options: of `record`; pinned:
    natively to one core, too (where who spins waits for the end of the other's slice)."""

    name: str
    source: Path
    arguments: tuple[str, ...]
    options: tuple[str, ...] = ("-c", "5")
    pinned: bool = True

    def command(self, directory: Path) -> list[str] | str:
        """The command, compiled first; or what is missing."""
        words = {".c": "gcc", ".go": "go", ".sh": "bash", ".py": sys.executable}
        tool = words[self.source.suffix]
        if shutil.which(tool) is None:
            return f"{tool} is missing"
        binary = directory / self.source.stem
        if self.source.suffix == ".c":
            flags = ["-O1", "-g", "-pthread"]
            subprocess.run([tool, *flags, "-o", binary, self.source], check=True)
        elif self.source.suffix == ".go":
            subprocess.run([tool, "build", "-o", binary, self.source], check=True)
        else:
            return [tool, str(self.source), *self.arguments]
        return [str(binary), *self.arguments]


HANDOVER = common.PROGRAMS / "handover.c"
ABA = PROGRAMS / "lock_free_aba.c"
RUN = (
    Program("handover by spinning, 2000 times", HANDOVER, ("2000",), pinned=False),
    Program("8 threads, a data race", PROGRAMS / "data_race.c", ("400",), ("-c", "2")),
    Program("three instructions, SIGALRM every ms", PROGRAMS / "three_instructions.c", ("500",)),
    Program("Go: goroutines, channels, SIGURG", PROGRAMS / "goroutines.go", ("100",), ("-c", "1")),
    Program("Python: setitimer and threads", PROGRAMS / "python_threads.py", ("100",)),
    Program("redis-benchmark, BGSAVE", PROGRAMS / "redis_benchmark.sh", ("100",), ("-c", "0.5")),
    Program("lock-free ring and stack", PROGRAMS / "lock_free.c", ("200",)),
)


@dataclass(frozen=True)
class Run:
    """One run of relive.  stops: asynchronous events found again, of a replay."""

    status: int
    stdout: bytes
    stderr: bytes
    seconds: float

    @property
    def stops(self) -> int:
        found = re.search(rb"(\d+) asynchronous events", self.stderr)
        return int(found[1]) if found else 0


def run(words: Sequence[str | Path]) -> Run:
    before = time.perf_counter()
    done = subprocess.run([str(w) for w in words], capture_output=True, timeout=common.LIMIT)
    seconds = time.perf_counter() - before
    return Run(done.returncode, done.stdout, done.stderr, seconds)


def record(command: Sequence[str], options: Sequence[str], recording: Path) -> Run:
    shutil.rmtree(recording, ignore_errors=True)
    return run([*common.RELIVE, "record", "-q", *options, "-o", recording, "--", *command])


def replay(recording: Path) -> Run:
    return run([*common.RELIVE, "replay", "-a", "--stats", recording])


def replayed(program: Program, directory: Path, replays: int) -> list[str]:
    """A line of the first table."""
    command = program.command(directory)
    if isinstance(command, str):
        return [program.name, command, *[""] * 6]
    native = common.run(command, cwd=directory, pin=program.pinned)
    recording = directory / "recording"
    wrong, why = 0, ""
    options = ("--verify-memory=events", *program.options)
    recorded = [record(command, options, recording) for _ in range(3)]
    last, times, stops = recorded[-1], [], 0
    for _ in range(replays):
        again = replay(recording)
        times.append(again.seconds)
        stops = max(stops, again.stops)
        if (again.status, again.stdout) != (last.status, last.stdout):
            wrong += 1
            why = again.stderr[-300:].decode(errors="replace").replace("\n", " ")
    return [
        program.name,
        str(stops),
        f"{native.seconds:.2f}",
        f"{statistics.median(r.seconds for r in recorded):.2f}",
        f"{statistics.median(times):.2f}",
        str(len({r.stdout for r in recorded})),
        str(replays),
        str(wrong) + (f" ({why})" if why else ""),
    ]


def handovers(count: int, directory: Path) -> list[str]:
    """A line of the second table."""
    program = Program("", HANDOVER, (str(count),), ())
    command = program.command(directory)
    assert not isinstance(command, str), command
    recording = directory / "recording"
    recorded = record(command, (), recording)
    again = replay(recording)
    stored = (recording / "events").stat().st_size
    return [
        f"{count:,}",
        str(again.stops),
        f"{recorded.seconds:.1f}",
        f"{recorded.seconds / count * 1e6:.0f}",
        f"{again.seconds:.1f}",
        f"{again.seconds / count * 1e6:.0f}",
        f"{stored / count:.0f}",
        "no" if again.stdout == recorded.stdout and not again.status else again.stderr.decode(),
    ]


def reuse(directory: Path, replays: int) -> Iterator[list[str]]:
    """The third table: how often the bug shows."""
    command = Program("", ABA, ("25",)).command(directory)
    assert not isinstance(command, str), command
    recording, kept = directory / "recording", directory / "kept"
    for name, chaos in (("plain", False), ("chaos", True)):
        shown, first, wrong = 0, "", 0
        for n in range(1, CALM + 1):
            options = ("--seed", str(n)) if chaos else ()
            if record(command, options, recording).status != 1:
                continue
            shown += 1
            if not first:
                first = str(n)
                recording.rename(kept)
        if first:
            wrong = sum(replay(kept).status != 1 for _ in range(replays))
            shutil.rmtree(kept)
        yield [name, f"{shown} of {CALM}", first, str(replays if first else 0), str(wrong)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replays", type=int, default=20, help="of each (default 20)")
    parser.add_argument("--handovers", type=int, default=1_000_000, help="default a million")
    parser.add_argument("--only", default="", help="programs whose name contains this, and no more")
    args = parser.parse_args()
    common.title("Asynchronous events, replayed again and again")
    with tempfile.TemporaryDirectory(prefix="relive-replay20-") as text:
        place = Path(text)
        head = ["program", "asynchronous events", "native s", "record s", "replay s"]
        head += ["different results in 3 recordings", "replays", "divergences"]
        common.table(head, (replayed(p, place, args.replays) for p in RUN if args.only in p.name))
        if args.only:
            return
        print()
        head = ["handovers by spinning", "landmarks", "record s", "us each", "replay s", "us each"]
        common.table([*head, "bytes each", "diverged"], [handovers(args.handovers, place)])
        print()
        head = [
            "lock-free stack that reuses nodes",
            "bug shown",
            "first by",
            "replays",
            "divergences",
        ]
        common.table(head, reuse(place, args.replays))


if __name__ == "__main__":
    main()
