"""What system calls really write, against what the table says (see oracle.c)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from relive.syscalls import special_outs
from relive.syscalls.table import by_number, name_of

from .building import build_directory, oracle, program

PROGRAMS = ("files", "process", "waiting", "network")
PROCESS_VM_WRITEV = 311
TIME_LIMIT = 40.0
"""Seconds for one program."""


@dataclass
class Seen:
    """What one run showed."""

    calls: dict[int, int] = field(default_factory=dict)
    """Times each call was made, by number."""
    wrote: set[int] = field(default_factory=set)
    """Calls that were seen to change memory."""
    unclaimed: list[str] = field(default_factory=list)
    status: int = -1


def _reader(pid: int) -> special_outs.Read:
    def read(addr: int, length: int) -> bytes:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            memory.seek(addr)
            data = memory.read(length)
        if len(data) < length:
            raise OSError(f"{addr:#x} is not mapped")
        return data

    return read


def _judge(line: str, seen: Seen) -> None:
    """One call with changes that the core did not claim, or with rules in Python."""
    words = line.split()
    kind, (pid, nr, *args), result = words[0], map(int, words[1:9]), int(words[9])
    flat = [int(word) for word in words[11:]]
    changed = list(zip(flat[::2], flat[1::2], strict=True))
    claims: list[tuple[int, int]] = []
    if kind == "S":
        claims = special_outs.outs(nr, args, result, _reader(pid))
        if nr == PROCESS_VM_WRITEV and args[0] == pid:
            claims += special_outs.remote_outs(args, result, _reader(pid))
    for addr, length in changed:
        missed = [
            byte
            for byte in range(addr, addr + length)
            if not any(start <= byte < start + size for start, size in claims)
        ]
        if missed:
            seen.unclaimed.append(
                f"{name_of(nr)}({', '.join(map(hex, args))}) = {result} wrote {length} bytes at "
                f"{addr:#x}; {len(missed)} from {missed[0]:#x} are not claimed"
            )


def watch(command: Sequence[str | Path]) -> Seen:
    """Run a program under the oracle."""
    report = build_directory() / "report"
    report.unlink(missing_ok=True)
    # A FIFO: the oracle waits for an answer to each line.
    os.mkfifo(report)
    with subprocess.Popen(
        [oracle(), report, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        seen = Seen()
        too_long = threading.Timer(TIME_LIMIT, process.kill)
        too_long.start()
        try:
            with open(report, encoding="ascii") as lines:
                for line in lines:
                    if line[0] in "US":
                        _judge(line, seen)
                        process.stdin.write("\n")
                        process.stdin.flush()
                    elif line[0] == "T":
                        nr, _, calls, _, wrote = map(int, line.split()[1:])
                        seen.calls[nr] = seen.calls.get(nr, 0) + calls
                        if wrote:
                            seen.wrote.add(nr)
                    else:
                        seen.status = int(line.split()[1])
        finally:
            too_long.cancel()
            process.kill()
    return seen


@pytest.fixture(scope="module")
def watched() -> dict[str, Seen]:
    return {name: watch([program(name)]) for name in PROGRAMS}


@pytest.mark.parametrize("name", PROGRAMS)
def test_nothing_is_written_unclaimed(name: str, watched: dict[str, Seen]) -> None:
    seen = watched[name]
    assert seen.status == 0
    assert seen.unclaimed == []


def test_the_programs_reach_most_of_the_table(watched: dict[str, Seen]) -> None:
    made = {nr for seen in watched.values() for nr in seen.calls}
    wrote = {nr for seen in watched.values() for nr in seen.wrote}
    assert len(made) > 250, sorted(by_number[nr].name for nr in by_number if nr not in made)
    assert len(wrote) > 80


REAL = {
    "ls": ("ls", "-la", "/usr/bin"),
    "sh": ("sh", "-c", "for i in 1 2 3; do echo $i | cat; done; ls / > /dev/null & wait"),
    "bash": ("bash", "-c", "x=$(date); read -t 0.01 y < /dev/zero; kill -0 $$; echo {1..20} | wc"),
    "python": (sys.executable, "-c", "import subprocess; subprocess.run(['true']); print(1)"),
    "git": ("git", "-C", str(Path(__file__).resolve().parents[2]), "log", "-3", "--stat"),
    "find": ("find", "/etc", "-name", "*.conf", "-newer", "/etc/passwd"),
}


@pytest.mark.parametrize("name", REAL)
def test_real_programs(name: str) -> None:
    if shutil.which(REAL[name][0]) is None:
        pytest.skip(f"no {name}")
    seen = watch(REAL[name])
    assert seen.unclaimed == []
    assert seen.calls
