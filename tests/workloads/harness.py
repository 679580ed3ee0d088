"""Record a command, replay it several times, compare: what every test of real programs does.

The recorder is given a directory to work in; before the first replay that directory is removed
with everything in it, the program itself included: a replay has only the recording.  relive
itself compares the memory of every process at its exit (`--verify-memory=exit`); here the output,
the exit status or killing signal, and the silence of relive are compared.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: How often each recording is replayed (RELIVE_REPLAYS=20 for the full measure).
REPLAYS = int(os.environ.get("RELIVE_REPLAYS", "2"))

#: `replay` ends so when the replay and the recording disagree (README).
DIVERGED = 3

RELIVE = (sys.executable, "-m", "relive")


@dataclass(frozen=True)
class Outcome:
    """How a process ended.

    status: as subprocess tells it, negative for a killing signal; seconds: wall-clock time.
    """

    command: Sequence[str]
    status: int
    stdout: bytes
    stderr: bytes
    seconds: float

    @property
    def messages(self) -> bytes:
        """What relive itself said: the lines of stderr that carry its name."""
        return b"".join(line for line in self.stderr.splitlines(True) if line.startswith(b"relive"))

    @property
    def program_stderr(self) -> bytes:
        """stderr without the lines of relive."""
        return b"".join(
            line for line in self.stderr.splitlines(True) if not line.startswith(b"relive")
        )


class Hung(AssertionError):
    """A command did not end in its time."""


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 60,
) -> Outcome:
    """Run to the end, with no stdin, output collected until the last writer has closed it.

    env: variables besides those of this process.  Raises Hung; what was started is killed then.
    """
    words = [str(word) for word in command]
    before = time.perf_counter()
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        stdout, stderr = process.communicate()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        raise Hung(
            f"did not end in {timeout:g} s: {' '.join(words)}\n"
            f"stdout ends: {stdout[-500:]!r}\nstderr ends: {stderr[-1000:]!r}"
        ) from None
    seconds = time.perf_counter() - before
    return Outcome(words, process.returncode, stdout, stderr, seconds)


def record(
    command: Sequence[str | Path],
    recording: Path,
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 60,
    prefix: Sequence[str] = (),
    relive: Sequence[str] = RELIVE,
    verify_memory: bool = True,
) -> Outcome:
    """Record a command into a new directory.

    prefix: what runs relive (setpriv, for another user); relive: the command line that is relive.
    """
    options = ["-q", "-o", str(recording)]
    if verify_memory:
        options.append("--verify-memory=exit")
    return run(
        [*prefix, *relive, "record", *options, "--", *command], cwd=cwd, env=env, timeout=timeout
    )


def replay(
    recording: Path,
    *,
    timeout: float = 60,
    prefix: Sequence[str] = (),
    relive: Sequence[str] = RELIVE,
    env: Mapping[str, str] | None = None,
) -> Outcome:
    """Replay once, in an empty directory, in which nothing may appear."""
    with tempfile.TemporaryDirectory() as elsewhere:
        Path(elsewhere).chmod(0o777)
        outcome = run(
            [*prefix, *relive, "replay", "-a", recording],
            cwd=Path(elsewhere),
            env=env,
            timeout=timeout,
        )
        touched = list(Path(elsewhere).iterdir())
    assert not touched, f"the replay made {touched}"
    return outcome


def same(expected: Outcome, found: Outcome) -> None:
    """Raise AssertionError unless both wrote the same and ended the same."""
    context = f"\nby: {' '.join(found.command)}\nstderr ends: {found.stderr[-2000:].decode()}"
    assert found.status != DIVERGED or expected.status == DIVERGED, f"diverged{context}"
    assert found.stdout == expected.stdout, difference("stdout", expected.stdout, found.stdout)
    assert found.program_stderr == expected.program_stderr, difference(
        "stderr", expected.program_stderr, found.program_stderr
    )
    assert found.status == expected.status, f"status {found.status}, not {expected.status}{context}"
    assert not found.messages, f"relive complains{context}"


def difference(what: str, expected: bytes, found: bytes) -> str:
    """Where two outputs begin to differ, in words."""
    at = next(
        (i for i, (one, two) in enumerate(zip(expected, found, strict=False)) if one != two),
        min(len(expected), len(found)),
    )
    begin = max(0, at - 60)
    return (
        f"{what} differs at byte {at} (of {len(expected)} and {len(found)}):\n"
        f"  recorded {expected[begin : at + 100]!r}\n  replayed {found[begin : at + 100]!r}"
    )


def check(
    command: Sequence[str | Path],
    directory: Path,
    *,
    work: Path,
    replays: int = REPLAYS,
    env: Mapping[str, str] | None = None,
    timeout: float = 60,
) -> tuple[Outcome, list[Outcome]]:
    """Record a command in `work`, remove `work`, replay, compare each with the recorded run.

    directory: where the recording goes (`recording` in it).  Returns all outcomes.
    """
    recording = directory / "recording"
    recorded = record(command, recording, cwd=work, env=env, timeout=timeout)
    remove(work)
    replayed = []
    for _ in range(replays):
        outcome = replay(recording, timeout=timeout)
        same(recorded, outcome)
        replayed.append(outcome)
    return recorded, replayed


def remove(directory: Path) -> None:
    """Remove a tree, also one in which programs took rights away."""
    for parent, _, _ in os.walk(directory):
        Path(parent).chmod(0o700)
    shutil.rmtree(directory)
