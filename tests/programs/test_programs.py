"""Every small program, recorded and replayed: its own checks hold, and each replay is the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.workloads import harness
from tests.workloads.compiling import PROGRAMS, CannotCompile, Program, compiled

#: How a program says that this system lacks what it is about.
SKIPPED = 77


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_recorded_and_replayed(program: Program, tmp_path: Path) -> None:
    try:
        binary = compiled(program.name)
    except CannotCompile as error:
        if program.static or "missing" in str(error):
            pytest.skip(f"cannot compile: {error}")
        raise
    work = tmp_path / "work"
    work.mkdir()
    shutil.copy(binary, work / program.name)
    recorded, _ = harness.check([f"./{program.name}"], tmp_path, work=work, timeout=25)
    if recorded.status == SKIPPED:
        pytest.skip(recorded.stdout.decode().strip())
    assert recorded.status == program.status, recorded.stderr.decode()
    if program.name.startswith("stdio_fds"):
        assert recorded.stdout == STDIO_FDS
    assert b"EXIT-SUCCESS\n" in recorded.stdout


#: stdio_fds checks nothing itself: what counts is what arrives.
STDIO_FDS = b"plain\ncopy\nhigh\nvector\nback again\nchild\nEXIT-SUCCESS\n"
