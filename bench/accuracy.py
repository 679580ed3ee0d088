"""Accuracy of asynchronous stops: hard programs recorded, replayed, compared at every stop.

Each program is recorded with --verify-memory=events: after every asynchronous stop the recording
keeps digests of the whole private writable memory, and every replay compares them (registers and
extended state are part of the landmark).  A wrong position would be a difference of memory or,
later, of what the program does.  Goal: 10 000 stops, none wrong, none not found.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import common
from relive.errors import DivergenceError, ReliveError
from relive.replay.session import Session
from relive.replay.statistics import Landing
from relive.trace.reader import Recording

SOURCES = common.ROOT / "tests" / "asynchronous" / "programs"
#: How often each is told to be interrupted in a recording.
LANDINGS = 300
#: Recordings are made until so many stops were seen (in all more than 10 000), or for so long.
STOPS = 300
SECONDS = 15


@dataclass
class Result:
    """One program: stops of the first replay; what went wrong in any."""

    name: str
    stops: list[Landing] = field(default_factory=list)
    compared: int = 0
    wrong: int = 0
    not_found: int = 0
    problem: str = ""

    def row(self) -> list[str]:
        """For the table."""
        candidates = [stop.found.candidates for stop in self.stops] or [0]
        hits = [stop.found.hits for stop in self.stops] or [0]
        refinements = [stop.found.refinements for stop in self.stops] or [0]
        by: dict[str, int] = {}
        for stop in self.stops:
            by[stop.found.evaluator] = by.get(stop.found.evaluator, 0) + 1
        return [
            self.name,
            str(len(self.stops)),
            f"{sum(hits):,}",
            f"{statistics.median(candidates):g} / {max(candidates)}",
            f"{statistics.median(refinements):g} / {max(refinements)}",
            ", ".join(f"{n} {name}" for name, n in sorted(by.items())),
            f"{sum(stop.seconds for stop in self.stops):.1f}",
            str(self.wrong),
            str(self.not_found) + (f" ({self.problem})" if self.problem else ""),
        ]


def replayed(recording: Path, result: Result, evaluator: str) -> None:
    """Replays once and adds to the result."""
    with Recording(recording) as opened:
        session = Session(opened, echo=False, evaluator=evaluator)
        try:
            session.run()
        except DivergenceError as error:
            if "recorded state" in str(error):
                result.not_found += 1
            else:
                result.wrong += 1
            result.problem = str(error)[:200]
        except ReliveError as error:
            result.not_found += 1
            result.problem = str(error)[:200]
    result.stops += session.statistics.landings
    result.compared += session.verified


def commands(directory: Path, landings: int) -> Iterator[tuple[str, list[str], list[str]]]:
    """Name, command, options of `record`."""
    for source in sorted(SOURCES.glob("*.c")):
        binary = directory / source.stem
        flags = ["-O1", "-g", "-pthread"]
        subprocess.run(["gcc", *flags, "-o", str(binary), str(source)], check=True)
        yield source.stem, [str(binary), str(landings)], ["-c", "1"]
    for source in sorted(SOURCES.glob("*.py")):
        yield source.name, [sys.executable, str(source), str(landings)], ["-c", "2"]
    if shutil.which("perl"):
        yield "perl", ["perl", str(SOURCES / "interpreted.pl"), str(landings)], []
    # Without signals of their own: beside themselves, so that time slices end in them.
    for name, tool, script, rounds in (
        ("lua", "lua5.4", "interpreted.lua", landings),
        ("luajit", "luajit", "interpreted.lua", 20 * landings),
        ("node", "node", "jit.js", landings // 2),
    ):
        if shutil.which(tool):
            one = f"{tool} {SOURCES / script} {rounds}"
            yield name, ["sh", "-c", f"{one} & {one}; wait"], ["-c", "0.3"]
    if shutil.which("go"):
        binary = directory / "goroutines"
        subprocess.run(["go", "build", "-o", binary, SOURCES / "goroutines.go"], check=True)
        yield "go", [str(binary), str(landings)], ["-c", "1"]
    if shutil.which("javac"):
        subprocess.run(["javac", "-d", directory, SOURCES / "Jit.java"], check=True)
        java = ["java", "-Xshare:auto", "-cp", str(directory), "Jit", str(landings // 4)]
        yield "java", java, ["-c", "5"]


def measure(name: str, command: Sequence[str], options: Sequence[str], evaluator: str) -> Result:
    """Records a command and replays it, until there were enough stops or it took long."""
    result = Result(name)
    end = time.monotonic() + SECONDS
    while not result.problem:
        before = len(result.stops)
        with tempfile.TemporaryDirectory(prefix="relive-accuracy-") as text:
            once(Path(text) / "recording", command, options, evaluator, result)
        seen = len(result.stops)
        if seen >= STOPS or seen == before or time.monotonic() > end:
            break
    return result


def once(
    recording: Path,
    command: Sequence[str],
    options: Sequence[str],
    evaluator: str,
    result: Result,
) -> None:
    """One recording, replayed once; adds to the result."""
    record = [*common.RELIVE, "record", "-q", "--verify-memory=events", *options]
    try:
        subprocess.run(
            [*record, "-o", str(recording), "--", *command],
            stdout=subprocess.DEVNULL,
            timeout=120,
        )
    except subprocess.TimeoutExpired:
        result.problem = "not recorded in 120 s"
        return
    try:
        with time_limit(300):
            replayed(recording, result, evaluator)
    except TimeoutError:
        result.problem = "not replayed in 300 s"
        result.not_found += 1


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raises TimeoutError in the main thread."""

    def ring(number: int, frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--landings", type=int, default=LANDINGS, help=f"default {LANDINGS}")
    parser.add_argument("--evaluator", default="auto", choices=("auto", "inprocess", "supervisor"))
    parser.add_argument("--only", default="", help="programs whose name contains this")
    args = parser.parse_args()
    common.title("Accuracy of asynchronous stops")
    totals = Result("together")

    def rows() -> Iterator[list[str]]:
        with tempfile.TemporaryDirectory(prefix="relive-accuracy-") as text:
            for name, command, options in commands(Path(text), args.landings):
                if args.only not in name:
                    continue
                result = measure(name, command, options, args.evaluator)
                totals.stops += result.stops
                totals.compared += result.compared
                totals.wrong += result.wrong
                totals.not_found += result.not_found
                yield result.row()
        yield totals.row()

    head = ["program", "stops", "hits", "candidates (median / worst)", "refinements"]
    common.table([*head, "evaluator", "search s", "wrong", "not found"], rows())
    print(f"\n{totals.compared} mappings compared at and after {len(totals.stops)} stops")
    sys.stdout.flush()
    os._exit(1 if totals.wrong or totals.not_found else 0)


if __name__ == "__main__":
    main()
