"""`relive break` from the command line."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.targets import Service, natively

Programs = Callable[..., Path]
Start = Callable[[int], Service]


def run_break(*words: object, timeout: float = 50) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "relive", "break", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout)


def test_a_line_for_each_candidate(program: Programs) -> None:
    command = (program("threads"), "1", "100")
    for evaluator in ("auto", "supervisor"):
        done = run_break(
            "site", "--when", "rsi % 50 == 7", "--evaluator", evaluator, "-q", "--", *command
        )
        lines = done.stdout.splitlines()
        assert done.returncode == 0
        assert done.stderr == ""
        assert [line.split(" thread ")[0] for line in lines if " thread " in line] == [
            "site hit 8",
            "site hit 58",
        ]
        assert "rsi=0x39" in done.stdout
        assert natively(command) in done.stdout


def test_exit_status_and_signals_are_the_programs(program: Programs) -> None:
    done = run_break("main", "-q", "--", "sh", "-c", "exit 7")
    assert done.returncode == 7
    done = run_break("-q", "libc:malloc", "--", "sh", "-c", "kill -USR1 $$")
    assert done.returncode == -signal.SIGUSR1
    done = run_break("main", "--", "/nonexistent/program")
    assert done.returncode == 69
    assert "relive: error: /nonexistent/program" in done.stderr


def test_collect_to_files(program: Programs, tmp_path: Path) -> None:
    command = (program("threads"), "2", "100")
    for name in ("hits.csv", "hits.jsonl"):
        path = tmp_path / name
        values = ["--collect", "rdi", "--collect", "i64(rsi) - 50"]
        done = run_break("site", *values, "-o", path, "-q", "--stats", "--", *command)
        assert done.returncode == 0, done.stderr
        assert "200 hits in" in done.stdout
        assert " thread " not in done.stdout  # --print was not asked for
        if name.endswith("csv"):
            rows = list(csv.DictReader(path.read_text().splitlines()))
        else:
            rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert list(rows[0]) == ["place", "address", "pid", "tid", "hit", "rdi", "i64(rsi) - 50"]
        found = sorted((int(row["rdi"]), int(row["i64(rsi) - 50"])) for row in rows)
        assert found == [(t, n - 50) for t in range(2) for n in range(100)]


@pytest.mark.parametrize("evaluator", ["inprocess", "supervisor"])
def test_parquet(program: Programs, tmp_path: Path, evaluator: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    command = (program("threads"), "2", "100")
    path = tmp_path / "hits.parquet"
    values = ("--collect", "-i64(rsi)", "--collect", "u64[rdi - 64]")
    done = run_break("site", *values, "--evaluator", evaluator, "-o", path, "-q", "--", *command)
    assert done.returncode == 0, done.stderr
    table = parquet.read_table(path)
    assert sorted(table["-i64(rsi)"].to_pylist()) == sorted(-n for n in range(100) for _ in "ab")
    assert table["u64[rdi - 64]"].null_count == 200
    assert set(table["place"].to_pylist()) == {"site"}
    assert sorted(table["hit"].to_pylist()) == list(range(1, 201))


def test_without_the_library_for_parquet(program: Programs, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None\nfrom relive.cli import main; sys.exit(main())"
    )
    words = ["break", "site", "-o", str(tmp_path / "hits.parquet"), "--", str(program("threads"))]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip install pyarrow, or save to .csv or .jsonl" in done.stderr
    assert "Traceback" not in done.stderr


def test_return_values(program: Programs, tmp_path: Path) -> None:
    path = tmp_path / "hits.csv"
    words = ("--when", "rsi % 10 == 4", "--collect", "rsi", "--at-return", "rax")
    done = run_break("outer", *words, "-q", "-o", path, "--print", "--", program("threads"), 1, 50)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(path.read_text().splitlines()))
    # outer(call, thread, number): rsi is the thread, 0 here: none is a candidate
    assert rows == []
    words = ("--when", "rdx % 10 == 4", "--collect", "rdx", "--at-return", "rax")
    done = run_break("outer", *words, "-q", "-o", path, "--print", "--", program("threads"), 1, 50)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    found = [(row["hit"], row["rdx"], row["rax at return"]) for row in rows]
    assert found == [(str(n + 1), str(n), str(n + 1)) for n in range(4, 50, 10)]
    assert "outer hit 5 thread" in done.stdout
    assert "rdx=4 rax at return=5" in done.stdout


@pytest.mark.parametrize("evaluator", ["inprocess", "uprobe"])
@pytest.mark.parametrize("full", ["wait", "lose"])
def test_a_full_ring(program: Programs, tmp_path: Path, evaluator: str, full: str) -> None:
    """Nothing is lost without being counted; with `wait`, nothing is lost."""
    command = (program("threads"), "2", "200000")
    path = tmp_path / "hits.csv"
    words = ("--evaluator", evaluator, "--full", full, "--collect", "rsi", "-o", path, "--stats")
    done = run_break("probed", *words, "-q", "--", *command)
    if done.returncode == 1 and evaluator == "uprobe":
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    assert natively(command) in done.stdout
    counts = next(line.split() for line in done.stdout.splitlines() if ":probed" in line)
    hits, candidates, rejected, undecided, lost = map(int, counts[2:])
    assert (hits, candidates, rejected, undecided) == (400_000, 400_000, 0, 0)
    with path.open() as file:
        numbers = [int(row["hit"]) for row in csv.DictReader(file)]
    assert len(numbers) == len(set(numbers)) == 400_000 - lost
    assert bool(lost) == (full == "lose")


def test_count_and_backtrace(program: Programs) -> None:
    command = (program("threads"), "1", "100")
    done = run_break(
        "site", "--when", "rsi >= 10", "--count", "3", "--backtrace", "--stats", "--", *command
    )
    assert done.returncode == 0
    assert done.stdout.count("site hit ") >= 1
    assert done.stdout.count("#1 ") == 1
    assert "outer+0x" in done.stdout
    assert "threads.c:" in done.stdout
    assert "      13             3            10" in done.stdout
    assert natively(command) in done.stdout  # it went on to its end


def test_watchpoint(program: Programs) -> None:
    command = (program("watched"), "20")
    condition = "u64[counter] == 12"
    done = run_break("--write", "counter", "-w", condition, "-q", "--stats", "--", *command)
    assert done.returncode == 0
    assert "counter hit 13 thread" in done.stdout
    assert "u64[addr(counter)]=0xc" in done.stdout
    assert "20 hits in" in done.stdout


def test_undecided_is_told(program: Programs) -> None:
    done = run_break("site", "-w", "u64[rdi] == 1", "-q", "--", program("watched"), "4")
    assert "hit 1 can't be decided" in done.stderr
    assert "site hit 2" in done.stdout


def test_attach_for_a_time(service: Start) -> None:
    target = service(2)
    done = run_break("site", "-p", target.pid, "-w", "rdi == -1", "--time", "0.3", "--stats")
    assert done.returncode == 0, done.stderr
    assert "decided by" in done.stderr
    assert int(done.stdout.splitlines()[-1].split()[0]) > 100
    assert target.finish() == (0, "0\n")


def test_the_interrupt_key_detaches(service: Start) -> None:
    target = service(2)
    command = [sys.executable, "-m", "relive", "break", "site", "-w", "rdi == -1", "--stats"]
    relive = subprocess.Popen(
        [*command, "-p", str(target.pid)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert relive.stderr is not None
    assert "site" in relive.stderr.readline()
    time.sleep(0.2)
    relive.send_signal(signal.SIGINT)
    output, errors = relive.communicate(timeout=20)
    assert relive.returncode == 0, errors
    assert "hits in" in output
    assert target.finish() == (0, "0\n")


def test_left_stopped(service: Start) -> None:
    target = service(1)
    done = run_break("site", "-p", target.pid, "--count", "1", "--stop", "-q")
    assert done.returncode == 0, done.stderr
    state = Path(f"/proc/{target.pid}/stat").read_text().rpartition(")")[2].split()[0]
    assert state == "T"
    os.kill(target.pid, signal.SIGCONT)
    assert target.finish() == (0, "0\n")


def test_children(program: Programs) -> None:
    done = run_break(
        "site", "-w", "rdi == 6", "--collect", "rdi", "--stats", "-f", "--", program("forks"), "3"
    )
    assert done.returncode == 0, done.stderr
    assert "forked" in done.stderr
    assert "executes another program" in done.stderr
    total = [line.split() for line in done.stdout.splitlines() if line.startswith("forks:site")]
    assert sum(int(row[3]) for row in total) == 3


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["main"], 2, "-p PID or -- PROGRAM is needed"),
        (["main", "-p", "1", "--", "true"], 2, "not both"),
        (["--", "true"], 2, "no place to watch"),
        (["main", "-w", "rdi ==", "--", "true"], 1, "column"),
        (["main", "--evaluator", "gdb", "--", "true"], 2, "no evaluator"),
        (["main", "--count", "0", "--", "true"], 2, "counted from 1"),
        (["main", "--size", "3", "--", "true"], 2, "--size is 1, 2, 4 or 8"),
        (["main", "-o", "hits.txt", "--", "true"], 2, ".csv, .jsonl or .parquet"),
        (["main", "-p", "4194305"], 1, "no process"),
        (["a b", "--", "true"], 1, "names no place"),
        (["main", "--"], 2, "no program"),
        (["main", "--full", "x", "-p", "SELF"], 2, "--full is wait or lose"),
        (["--write", "x", "--at-return", "rax", "-p", "SELF"], 2, "data does not return"),
        (["libc:environ", "-q", "-p", "SELF"], 1, "is not code"),
        (["libc:malloc", "-w", "nosuch == 1", "-q", "-p", "SELF"], 1, "unknown name nosuch"),
    ],
)
def test_what_makes_no_sense(service: Start, words: list[str], status: int, message: str) -> None:
    target = service(1) if "SELF" in words else None
    words = [str(target.pid) if target and word == "SELF" else word for word in words]
    done = run_break(*words)
    assert done.returncode == status, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("relive: error: ")
    if target:
        assert target.finish() == (0, "0\n")


def test_what_waits_says_so(program: Programs) -> None:
    done = run_break("nosuch", "--stats", "--", program("watched"), "3")
    assert done.returncode == 0
    assert "nosuch: waiting (no symbol 'nosuch')" in done.stderr


def test_what_was_never_armed_is_told(program: Programs) -> None:
    done = run_break("libc:mallocc", "-q", "--", program("threads"), "1", "1")
    assert done.returncode == 0
    assert "warning: libc:mallocc was never armed: no symbol 'mallocc' in " in done.stderr
    done = run_break("libc:malloc", "-w", "rdi > xx", "-q", "--", program("threads"), "1", "1")
    assert "unknown name xx" in done.stderr
    assert "        ^~" in done.stderr


@pytest.mark.parametrize("evaluator", ["auto", "supervisor"])
def test_the_middle_of_an_instruction(program: Programs, evaluator: str) -> None:
    """A breakpoint there would make another instruction of it."""
    command = (program("instructions"), "1")
    middle = next(
        place
        for place in (f"main+{offset}" for offset in range(1, 30))
        if "inside of an" in run_break(place, "--evaluator", evaluator, "--", *command).stderr
    )
    done = run_break(middle, "--evaluator", "kernel", "-q", "--stats", "--", *command)
    assert done.stdout.startswith(natively(command)) or "can't be armed" in done.stderr


def test_a_reader_that_leaves(program: Programs) -> None:
    """`| head -1`: the program goes on to its end."""
    script = f"{sys.executable} -m relive break site -q -- {program('threads')} 1 20000 2>&1 >&3"
    done = subprocess.run(
        ["bash", "-c", f"exec 3> >(head -1 >/dev/null); {script}"],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert "Traceback" not in done.stdout + done.stderr
