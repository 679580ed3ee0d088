"""Values collected from every call of malloc in a real program: the Python interpreter, with its
own allocator turned off.

Goal: ten million calls collected without loss.  Checked: as many records as calls, numbered from 1
without a gap, nothing lost, the program's output unchanged.  A ring that is full waits.  The
program and relive share two cores, if there are.
"""

from __future__ import annotations

import importlib.util
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench import common
from relive import live

CODE = """
import sys
kept = None
for i in range(int(sys.argv[1])):
    kept = [None] * (i % 64 + 1)  # a list and its elements: two calls
print(len(kept))
"""
ENVIRONMENT = {**os.environ, "PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0"}
VALUES = ("rdi", "u64[rsp]")


class Program:
    """The program, for a number of calls; relive saves to a directory of its own."""

    def __init__(self, calls: int, directory: Path) -> None:
        self.command = [sys.executable, "-S", "-c", CODE, str(calls // 2)]
        self.least = calls
        self.directory = directory
        before = time.perf_counter()
        self.output = subprocess.run(
            self.command, env=ENVIRONMENT, capture_output=True, text=True, check=True
        ).stdout
        self.native = time.perf_counter() - before

    def command_line(self, name: str, *words: str) -> tuple[int, int, int, float]:
        """Calls, records, lost, seconds of `relive break`."""
        path = self.directory / name
        file = ["-o", str(path)] if name else []
        options = ["-q", "--stats", *words, *file, "--", *self.command]
        before = time.perf_counter()
        output = subprocess.run(
            [*common.RELIVE, "break", "libc:malloc", *options],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        seconds = time.perf_counter() - before
        if not output.startswith(self.output):
            raise live.LiveError(f"the program printed {output[:40]!r}, not {self.output!r}")
        found = re.search(r"^libc\S* +inprocess +(\d+) +(\d+) +\d+ +\d+ +(\d+)$", output, re.M)
        if not found:
            raise live.LiveError(f"no counts in {output!r}")
        hits, candidates, lost = map(int, found.groups())
        if name:
            candidates = check(path)
        return hits, candidates, lost, seconds

    def in_python(self) -> tuple[int, int, int, float]:
        """The same with a Session, whose blocks are looked at and thrown away."""
        before = time.perf_counter()
        numbers = 0
        total = 0
        with live.Session() as session, common.silenced():
            session.start(self.command, ENVIRONMENT)
            site = session.add("libc:malloc", "", live.collect(*VALUES))
            while session.processes:
                session.run(0.1)
                for block in session.blocks():
                    if block.hits[0] != numbers + 1 or block.hits[-1] != numbers + len(block):
                        raise live.LiveError(f"records are missing after {numbers}")
                    numbers += len(block)
                    total += sum(block.columns[0])  # type: ignore[arg-type]
            counts = site.counts()
        assert total >= counts.hits, "sizes of at least a byte"
        return counts.hits, numbers, counts.lost, time.perf_counter() - before


def check(path: Path) -> int:
    """The number of records in a file; they are numbered from 1 on.  Raises LiveError."""
    numbers: Sequence[int]
    if path.suffix == ".csv":
        with path.open() as file:
            next(file)
            numbers = [int(line.split(",", 5)[4]) for line in file]
    elif path.suffix == ".jsonl":
        with path.open() as file:
            numbers = [int(line.partition('"hit": ')[2].partition(",")[0]) for line in file]
    else:
        from pyarrow import parquet

        numbers = parquet.read_table(path, columns=["hit"])["hit"].to_pylist()
    path.unlink()
    if sorted(numbers) != list(range(1, len(numbers) + 1)):
        raise live.LiveError(f"records are missing, or there twice, in {path.name}")
    return len(numbers)


def main(argv: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__ or "", rounds=1)
    parser.add_argument("--calls", type=int, default=10_000_000)
    args = parser.parse_args(argv)
    common.title(f"{args.calls} calls of malloc collected, in CPython")
    two = [word for value in VALUES for word in ("--collect", value)]
    ways: list[tuple[str, str, list[str]]] = [
        ("condition false (`rdi == 0xdead`), nothing collected", "", ["--when", "rdi == 0xdead"]),
        ("two values, to CSV", "hits.csv", two),
        ("two values, to JSON lines", "hits.jsonl", two),
        ("two values, to Parquet", "hits.parquet", two),
        ("one value and the return value, to CSV", "returns.csv",
         ["--collect", "rdi", "--at-return", "rax"]),
    ]  # fmt: skip
    if importlib.util.find_spec("pyarrow") is None:
        ways = [way for way in ways if "parquet" not in way[1]]
        print("Parquet is not measured: pyarrow is not installed.\n")
    with tempfile.TemporaryDirectory(prefix="relive-bench-") as text:
        program = Program(args.calls, Path(text))

        def row(name: str, found: list[tuple[int, int, int, float]]) -> list[str]:
            hits, kept, lost, _ = found[-1]
            seconds = statistics.median(seconds for *_, seconds in found)
            each = (seconds - program.native) / hits * 1e9
            said = [str(hits), str(kept), str(lost), f"{seconds:.1f}", f"{each:.0f} ns"]
            return [name, *said]

        print(f"The program alone takes {program.native:.1f} s.\n")
        head = ["", "calls", "records", "lost", "seconds", "added a call"]

        def rows() -> list[list[str]]:
            made = []
            for name, file, words in ways:
                found = [program.command_line(file, *words) for _ in range(args.rounds)]
                made.append(row(name, found))
                if not file:
                    in_python = [program.in_python() for _ in range(args.rounds)]
                    made.append(row("two values, to a Python program", in_python))
            return made

        common.table(head, rows())
    print(
        "\nEvery record was there, once.  The seconds include relive's own start, and reading the"
        " ring and writing the file beside the program."
    )


if __name__ == "__main__":
    main()
