"""Recording and replaying as an ordinary user, when these tests run as root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import relive
from tests.workloads import harness
from tests.workloads.catalogue import WORKLOADS, Missing, lay_out, program

NOBODY = 65534

AS_NOBODY = (
    "setpriv",
    f"--reuid={NOBODY}",
    f"--regid={NOBODY}",
    "--clear-groups",
    "--inh-caps=-all",
    "--no-new-privs",
)

pytestmark = [pytest.mark.slow, pytest.mark.root]


def interpreters() -> Iterator[tuple[str, dict[str, str]]]:
    """Interpreters that might run relive for another user, with the environment for it."""
    yield sys.executable, {}
    # One in a home directory can't be reached by others; the system's can, told where things are.
    found = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if found:
        package = Path(relive.__file__).parent.parent
        places = [str(package), *(path for path in sys.path if path.endswith("site-packages"))]
        yield found, {"PYTHONPATH": os.pathsep.join(places)}


@pytest.fixture(scope="module")
def as_nobody() -> tuple[tuple[str, ...], dict[str, str]]:
    """The command line that is relive for an ordinary user, and its environment."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user (everything else runs unprivileged)")
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is missing")
    reasons = []
    for interpreter, env in interpreters():
        env = {"HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1", **env}
        outcome = harness.run(
            [*AS_NOBODY, interpreter, "-c", "import relive._core, zstandard, xxhash"],
            cwd=Path("/"),
            env=env,
        )
        if outcome.status == 0:
            return (interpreter, "-m", "relive"), env
        reasons.append(outcome.stderr.decode().strip().splitlines()[-1:])
    pytest.skip(f"no interpreter that nobody may run can import relive: {reasons}")


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that the ordinary user can reach and owns."""
    directory = Path(tempfile.mkdtemp(prefix="relive-nobody-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    harness.remove(directory)


#: Programs for which it matters who runs them: what /proc shows, what may be opened again.
PROGRAM_NAMES = (
    "exec_memfd",
    "crash_thread",
    "faults",
    "memfd",
    "mmap_shared_file",
    "process_vm",
    "ids",
    "pty",
)

NAMES = (
    "true",
    "static-binary",
    "crash",
    "own-segv-handler",
    "exec-20-times",
    "200-processes",
    "c-threads",
    "bash",
    "perl",
    "sqlite3",
    "git",
)


@pytest.mark.limit(120)
@pytest.mark.parametrize("name", [*NAMES, *PROGRAM_NAMES])
def test_as_nobody(
    name: str, as_nobody: tuple[tuple[str, ...], dict[str, str]], open_directory: Path
) -> None:
    declared = {workload.name: workload for workload in WORKLOADS}
    workload = declared.get(name) or program(name)
    work = open_directory / "work"
    try:
        command = lay_out(workload, work)
    except Missing as error:
        pytest.skip(str(error))
    for path in [open_directory, work, *work.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    relive_command, env = as_nobody
    recording = open_directory / "recording"
    recorded = harness.record(
        command, recording, cwd=work, env=env, prefix=AS_NOBODY, relive=relive_command
    )
    assert recorded.status == workload.status, recorded.stderr.decode()
    assert recording.stat().st_uid == NOBODY and recording.stat().st_mode & 0o777 == 0o700
    harness.remove(work)
    # By the one who made it, and by root.
    harness.same(
        recorded, harness.replay(recording, prefix=AS_NOBODY, relive=relive_command, env=env)
    )
    harness.same(recorded, harness.replay(recording))


#: Spins (debug registers), signals at any instruction, races.
ASYNCHRONOUS = (
    "bench/programs/handover.c",
    "tests/asynchronous/programs/three_instructions.c",
    "tests/asynchronous/programs/lock_free.c",
)


@pytest.mark.limit(120)
@pytest.mark.parametrize("source", ASYNCHRONOUS)
def test_asynchronous_events(
    source: str, as_nobody: tuple[tuple[str, ...], dict[str, str]], open_directory: Path
) -> None:
    path = Path(__file__).parents[2] / source
    binary = open_directory / path.stem
    subprocess.run(["gcc", "-O1", "-pthread", "-o", binary, path], check=True, timeout=60)
    os.chown(open_directory, NOBODY, NOBODY)
    relive_command, env = as_nobody
    recording = open_directory / "recording"
    record = [*AS_NOBODY, *relive_command, "record", "-q", "-c", "1", "--verify-memory=events"]
    recorded = harness.run(
        [*record, "-o", recording, "--", binary, "20"], cwd=open_directory, env=env
    )
    assert recorded.status == 0, recorded.stderr.decode()
    replayed = harness.run(
        [*AS_NOBODY, *relive_command, "replay", "-a", recording], cwd=open_directory, env=env
    )
    assert (replayed.status, replayed.stdout) == (0, recorded.stdout), replayed.stderr.decode()
