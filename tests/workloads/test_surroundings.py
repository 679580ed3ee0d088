"""What surrounds a recorded program: its stdin, files as output, closed descriptors, a terminal,
signals from outside, a reader that leaves, a directory that is gone."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.workloads import harness

pytestmark = [pytest.mark.slow]

RECORD = (*harness.RELIVE, "record", "-q")


def replayed(recording: Path) -> harness.Outcome:
    """Replay; the harness's rules hold."""
    outcome = harness.replay(recording)
    assert outcome.status != harness.DIVERGED, outcome.stderr.decode()
    return outcome


def test_standard_input(tmp_path: Path) -> None:
    """From a pipe; a replay reads nothing of its own stdin."""
    script = "read -r first; echo first=$first; cat | tr a-z A-Z"
    recorded = subprocess.run(
        [*RECORD, "-o", tmp_path / "recording", "bash", "-c", script],
        input=b"one\ntwo\nthree\n",
        capture_output=True,
        timeout=30,
    )
    assert recorded.stdout == b"first=one\nTWO\nTHREE\n", recorded.stderr
    again = subprocess.run(
        [*harness.RELIVE, "replay", "-a", tmp_path / "recording"],
        input=b"other\nwords\n",
        capture_output=True,
        timeout=30,
    )
    assert (again.stdout, again.returncode) == (recorded.stdout, 0), again.stderr


def test_output_to_files(tmp_path: Path) -> None:
    """stdout and stderr are regular files: what the program wrote is there, and again on replay."""
    script = "echo out; echo err >&2; /bin/echo more; ls /nonexistent; exit 5"
    for mode in ("wb", "ab"):
        with (
            open(tmp_path / "out", mode) as out,
            open(tmp_path / "err", mode) as err,
        ):
            shutil.rmtree(tmp_path / "recording", ignore_errors=True)
            status = subprocess.run(
                [*RECORD, "-o", tmp_path / "recording", "bash", "-c", script],
                stdout=out,
                stderr=err,
                timeout=30,
            ).returncode
        assert status == 5
        assert (tmp_path / "out").read_bytes().endswith(b"out\nmore\n")
        outcome = replayed(tmp_path / "recording")
        assert outcome.status == 5
        assert outcome.stdout == b"out\nmore\n"
        assert (tmp_path / "err").read_bytes().endswith(outcome.stderr)
        assert outcome.stderr.startswith(b"err\n")


def test_both_into_one(tmp_path: Path) -> None:
    """`2>&1`: the order between the two is the program's."""
    script = "for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; done"
    command = [*RECORD, "-o", str(tmp_path / "recording"), "bash", "-c", script]
    recorded = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
    again = subprocess.run(
        [*harness.RELIVE, "replay", "-a", tmp_path / "recording"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=30,
    )
    expected = "".join(f"out {i}\nerr {i}\n" for i in range(1, 6)).encode()
    assert recorded.stdout == expected
    assert again.stdout == expected


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_closed_descriptors(tmp_path: Path, closed: tuple[int, ...]) -> None:
    """A program whose standard descriptors are closed finds them closed."""

    def close() -> None:
        for fd in closed:
            os.close(fd)

    def run(prefix: list[str], answer: Path) -> str:
        # Python opens what is missing before a script runs; a shell does not.
        look = "for fd in 0 1 2; do [ -e /proc/$$/fd/$fd ] && echo open || echo closed; done"
        subprocess.run(
            [*prefix, "sh", "-c", f"({look}) 9>/dev/null >{answer}"],
            preexec_fn=close,
            timeout=30,
            check=False,
        )
        return answer.read_text()

    native = run([], tmp_path / "native")
    recorded = run([*RECORD, "-o", str(tmp_path / "recording")], tmp_path / "recorded")
    assert recorded == native
    replayed(tmp_path / "recording")


def test_reader_that_leaves(tmp_path: Path) -> None:
    """`relive record yes | head -1`: SIGPIPE reaches the program, and the status tells."""
    with subprocess.Popen(
        [*RECORD, "-o", tmp_path / "recording", "yes"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.read(2) == b"y\n"
        process.stdout.close()
        assert process.wait(30) == -signal.SIGPIPE
    outcome = replayed(tmp_path / "recording")
    assert outcome.status == -signal.SIGPIPE
    assert outcome.stdout.startswith(b"y\ny\n")


@contextmanager
def started(
    command: Sequence[str | Path], stdin: int | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """Start, and wait for the program's first line; whatever happens, it is gone afterwards."""
    process = subprocess.Popen(
        [str(word) for word in command],
        stdin=stdin,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout
    try:
        assert process.stdout.readline() == b"ready\n"
        yield process, process.stdout
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()


@pytest.mark.parametrize("to", ["the recorder", "the program", "the group"])
def test_signal_from_outside(tmp_path: Path, to: str) -> None:
    """kill(1) of the recorder or of the program, ^C to the group: the program handles it once."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is missing")
    source = Path(__file__).parent / "files" / "outside.c"
    subprocess.run(["gcc", "-o", tmp_path / "outside", source], check=True)
    program: list[str | Path] = [tmp_path / "outside", tmp_path / "pid"]
    output = b"ready\n"
    with started([*RECORD, "-o", tmp_path / "recording", *program]) as (process, out):
        pid = int((tmp_path / "pid").read_text())

        def send(number: int) -> None:
            if to == "the group":
                os.killpg(process.pid, number)
            else:
                os.kill(process.pid if to == "the recorder" else pid, number)

        for number, answer in ((signal.SIGTERM, b"got TERM\n"), (signal.SIGINT, b"got INT\n")):
            # A terminal sends ^C to the group: the recorder leaves it to the program.  What it
            # passes on, SIGTERM, would come twice when the group is told.
            if (number, to) in ((signal.SIGINT, "the recorder"), (signal.SIGTERM, "the group")):
                continue
            send(number)
            line = out.readline()
            assert line == answer
            output += line
        os.kill(process.pid if to == "the recorder" else pid, signal.SIGHUP)
        rest = out.read()
        assert rest == b"got HUP\n"
        output += rest
        assert process.wait(20) == 9
    outcome = replayed(tmp_path / "recording")
    assert outcome.stdout == output
    assert outcome.status == 9


def test_every_signal_is_passed_on(tmp_path: Path) -> None:
    """Whatever the recorder is doing when a signal for its program reaches it."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is missing")
    program = tmp_path / "hangups"
    source = Path(__file__).parent / "files" / "hangups.c"
    subprocess.run(["gcc", "-o", program, source], check=True)
    read, write = os.pipe()
    with started([*RECORD, "-o", tmp_path / "recording", program], read) as (
        process,
        out,
    ):
        os.close(read)
        for _ in range(200):
            os.kill(process.pid, signal.SIGHUP)
            os.write(write, b"x")  # keeps both busy, at another moment each time
            assert out.readline() == b"got it\n"
        os.close(write)
        assert process.wait(20) == 0
    assert replayed(tmp_path / "recording").stdout == b"ready\n" + 200 * b"got it\n"


def test_killed_from_outside(tmp_path: Path) -> None:
    """SIGKILL of the recorded program: the recorder says the same of itself.

    The call in which it is killed may or may not have been made: only what came before counts.
    """
    script = f"echo $$ >{tmp_path}/pid; echo ready; echo second; exec sleep 1000"
    command: list[str | Path] = [*RECORD, "-o", tmp_path / "recording", "sh", "-c", script]
    with started(command) as (process, out):
        assert out.readline() == b"second\n"
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
        assert process.wait(20) == -signal.SIGKILL
    outcome = replayed(tmp_path / "recording")
    assert outcome.status == -signal.SIGKILL
    assert outcome.stdout in (b"ready\n", b"ready\nsecond\n"), outcome.stderr


def in_terminal(command: list[str], talk: Callable[[int], None]) -> tuple[bytes, int]:
    """Run on a new terminal, `talk` at the other end; all output, and the exit status."""
    pid, master = pty.fork()
    if pid == 0:
        try:
            os.environ["PS1"] = "% "
            os.execvp(command[0], command)
        finally:
            os._exit(99)
    output = b""
    end = time.monotonic() + 40
    try:
        talk(master)
        while time.monotonic() < end:
            if not select.select([master], [], [], 1)[0]:
                continue
            try:
                block = os.read(master, 65536)
            except OSError:  # EIO: the last who had it open has gone
                break
            if not block:
                break
            output += block
        else:
            os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"did not end; output {output[-1000:]!r}")
    finally:
        _, status = os.waitpid(pid, 0)
        os.close(master)
    return output, os.waitstatus_to_exitcode(status)


def test_in_a_terminal(tmp_path: Path) -> None:
    """An interactive shell on a terminal, with job control, recorded."""

    def type_lines(master: int) -> None:
        attributes = termios.tcgetattr(master)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(master, termios.TCSANOW, attributes)
        fcntl.ioctl(master, termios.TIOCSWINSZ, b"\x18\x00\x50\x00\x00\x00\x00\x00")
        os.write(
            master,
            b"tty >/dev/null && echo on a terminal; stty size\n"
            b"sleep 1000 &\nkill -STOP %1; kill %1; kill -CONT %1; wait\n"
            b"echo jobs done; (exit 3); exit 4\n",
        )

    command = [*RECORD, "-o", str(tmp_path / "recording"), "bash", "--norc", "-i"]
    output, status = in_terminal(command, type_lines)
    assert status == 4, output
    assert b"on a terminal" in output and b"24 80" in output and b"jobs done" in output
    outcome = replayed(tmp_path / "recording")
    assert outcome.status == 4
    assert b"on a terminal" in outcome.stdout and b"jobs done" in outcome.stdout


def test_directory_gone(tmp_path: Path) -> None:
    """A working directory that was removed, names that are no UTF-8, an empty environment."""
    work = tmp_path / "work"
    work.mkdir()
    script = (
        'printf "%s\\n" "$1"; : >"$1"; ls | od -c; rm -- "$1"; '
        f'rmdir {work}; ls; pwd -P; echo "$?"; env'
    )
    command = [b"bash", b"-c", script.encode(), b"name", b"not \xff utf-8 \n and a line"]

    def run(prefix: list[bytes]) -> subprocess.CompletedProcess[bytes]:
        work.mkdir(exist_ok=True)
        return subprocess.run(
            [*prefix, b"env", b"-i", b"PATH=/usr/bin:/bin", *command],
            cwd=work,
            capture_output=True,
            timeout=30,
        )

    native = run([])
    prefix = [word.encode() for word in [*RECORD, "-o", str(tmp_path / "recording")]]
    recorded = run(prefix)
    assert (recorded.stdout, recorded.returncode) == (native.stdout, native.returncode)
    outcome = replayed(tmp_path / "recording")
    assert (outcome.stdout, outcome.stderr) == (recorded.stdout, recorded.stderr)


def test_cannot_start(tmp_path: Path) -> None:
    """Programs that can't be started: a message and 69, as rr does, and no recording left."""
    (tmp_path / "text").write_text("no program\n")
    (tmp_path / "text").chmod(0o755)
    for name in ("/nonexistent", str(tmp_path), str(tmp_path / "text"), "no-such-name"):
        outcome = harness.run([*RECORD, "-o", tmp_path / "recording", name], cwd=tmp_path)
        assert outcome.status == 69, outcome
        assert outcome.messages and b"Traceback" not in outcome.stderr
        assert not (tmp_path / "recording").exists() or not any((tmp_path / "recording").iterdir())


@pytest.mark.parametrize("settings", ["-v 400000", "-n 20", "-s 256", "-f 100000", "-u 500"])
def test_under_limits(tmp_path: Path, settings: str) -> None:
    """Resource limits set before the recording bind the program, not the recorder's own work."""
    script = f"ulimit {settings}; /bin/echo started; seq 1000 | sort -rn | tail -1"
    outcome = harness.record(
        ["bash", "-c", script], tmp_path / "recording", cwd=tmp_path, timeout=30
    )
    assert (outcome.stdout, outcome.status) == (b"started\n1\n", 0), outcome.stderr
    harness.same(outcome, harness.replay(tmp_path / "recording"))


def test_core_count(tmp_path: Path) -> None:
    """The program sees the machine, not the one core it is recorded on (law: only timing)."""
    outcome = harness.record(["nproc"], tmp_path / "recording", cwd=tmp_path)
    assert int(outcome.stdout) == len(os.sched_getaffinity(0))
    script = "import os; print(os.sched_getaffinity(0))"
    outcome = harness.record([sys.executable, "-c", script], tmp_path / "second", cwd=tmp_path)
    assert outcome.stdout.decode().strip() == str(os.sched_getaffinity(0))
