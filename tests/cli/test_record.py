"""record and replay as commands: statuses, signals, names, places."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Relive


def test_saves_and_says_so(relive: Relive, trace_dir: Path) -> None:
    result = relive("record", "/bin/echo", "hello")
    assert (result.returncode, result.stdout) == (0, "hello\n")
    assert result.stderr == f"relive: saving to {trace_dir}/echo-0\n"
    assert os.readlink(trace_dir / "latest") == "echo-0"
    assert (trace_dir / "echo-0").stat().st_mode & 0o777 == 0o700
    assert relive("record", "echo", check=True).stderr.endswith("echo-1\n")
    assert os.readlink(trace_dir / "latest") == "echo-1"


def test_replays(relive: Relive, tmp_path: Path) -> None:
    script = "echo $$; echo $RANDOM >&2; exit 7"
    recorded = relive("record", "-q", "bash", "-c", script)
    for argv in (["replay", "-a"], ["replay", "-a", "bash-0"]):
        replayed = relive(*argv)
        assert replayed.returncode == recorded.returncode == 7
        assert (replayed.stdout, replayed.stderr) == (recorded.stdout, recorded.stderr)
    packed = tmp_path / "bash.relive"
    relive("pack", "-o", packed, check=True)
    relive("rm", "bash-0", check=True)
    replayed = relive(packed, "-a")
    assert (replayed.returncode, replayed.stdout) == (7, recorded.stdout)
    quiet = relive("replay", "-a", "--no-redirect-output", packed)
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (7, "", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGABRT])
def test_dies_of_the_same_signal(relive: Relive, number: signal.Signals) -> None:
    assert relive("record", "bash", "-c", f"kill -{number} $$").returncode == -number
    assert relive("replay", "-a").returncode == -number


def test_variables_options_and_the_programs_own_options(relive: Relive) -> None:
    result = relive(
        *("record", "-n", "-q", "-vA=1", "--env", "B=x=y", "bash", "-c", "echo $A $B -n $1"),
        *("zero", "-q"),
    )
    assert (result.stdout, result.stderr) == ("1 x=y -n -q\n", "")


def test_without_a_command(relive: Relive, trace_dir: Path) -> None:
    assert relive("/bin/echo", "x", check=True).stdout == "x\n"
    assert relive(trace_dir / "echo-0", "-a", check=True).stdout == "x\n"


def test_a_place_of_its_own(relive: Relive, trace_dir: Path, tmp_path: Path) -> None:
    relive("record", "-o", tmp_path / "a" / "b", "/bin/true", check=True)
    relive("replay", "-a", tmp_path / "a" / "b", check=True)
    assert not (trace_dir / "latest").exists()
    assert relive("record", "-o", tmp_path / "a", "/bin/true").returncode == 2


@pytest.mark.parametrize("program", ["no-such-program", "./nothing", "/etc/passwd", "/"])
def test_what_cannot_be_started(relive: Relive, trace_dir: Path, program: str) -> None:
    result = relive("record", program)
    assert result.returncode == 69
    assert result.stderr.startswith("relive: error: can't start")
    assert result.stderr.count("\n") == 1
    assert [name for name in os.listdir(trace_dir) if not name.startswith(".")] == []


def test_a_closed_stderr_disturbs_nothing(trace_dir: Path) -> None:
    command = f"{sys.executable} -m relive record /bin/echo hello 2>&-"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30)
    assert (result.returncode, result.stdout) == (0, "hello\n")


def test_views_of_a_real_recording(relive: Relive) -> None:
    relive("record", "-q", "bash", "-c", "/bin/true; /bin/false; (exit 3)", check=False)
    rows = [line.split() for line in relive("ps", check=True).stdout.splitlines()[1:]]
    assert [row[2] for row in rows] == ["3", "0", "1", "3"]
    assert rows[1][3:] == ["/bin/true"]
    assert rows[3][3] == "(forked)"
    assert [row[1] for row in rows] == ["--", *[rows[0][0]] * 3]
    assert " sound " in relive("ls", check=True).stdout
    assert "exit_group(3" in relive("dump", "--call", "exit_group", check=True).stdout
    assert relive("traceinfo", "--check", check=True).stdout


HELD_BACK = r"""
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
    volatile int *state = 0;
    pid_t me = getpid();
    int pipe_ends[2];
    char byte;

    printf("%d\n", me);
    __asm__ volatile("int3");
    raise(SIGTRAP);
    if (pipe(pipe_ends) < 0)
        return 1;
    if (fork() == 0) {
        kill(me, SIGTRAP); /* its parent sleeps, or is on its way there */
        _exit(write(pipe_ends[1], "x", 1) != 1);
    }
    if (read(pipe_ends[0], &byte, 1) != 1)
        return 2;
    if (wait(NULL) < 0)
        return 3;
    puts("three signals held back");
    fflush(stdout);
    raise(SIGUSR1);
    return *state;
}
"""


@pytest.mark.parametrize("name", ["TRAP", "sigtrap", "5"])
def test_goes_on_through_a_signal(relive: Relive, tmp_path: Path, name: str) -> None:
    source = tmp_path / "program.c"
    source.write_text(HELD_BACK)
    program = tmp_path / "program"
    subprocess.run(["gcc", "-o", program, source], check=True, timeout=60)
    assert relive("record", "-q", program).returncode == -signal.SIGTRAP
    recorded = relive("record", "-q", "-t", name, program)
    assert recorded.stdout.endswith("three signals held back\n"), recorded.stderr
    assert recorded.returncode == -signal.SIGUSR1
    replayed = relive("replay", "-a")
    assert (replayed.returncode, replayed.stdout) == (recorded.returncode, recorded.stdout)


def test_a_fault_cannot_be_held_back(relive: Relive) -> None:
    crash = [sys.executable, "-c", "import ctypes; ctypes.string_at(0)"]
    assert relive("record", "-q", "-t", "SEGV", *crash).returncode == -signal.SIGSEGV
    assert relive("replay", "-a").returncode == -signal.SIGSEGV


@pytest.mark.parametrize("name", ["FOO", "0", "1000", "-1"])
def test_no_signal(relive: Relive, name: str) -> None:
    result = relive("record", "-t", name, "/bin/true")
    assert result.returncode == 2
    assert result.stderr == f"relive: error: record: -t takes a signal, not '{name}'\n"
