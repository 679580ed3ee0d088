"""What the documents promise is what the tables say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from relive.cli import COMMANDS
from relive.syscalls.model import CallFlag
from relive.syscalls.table import by_name

ROOT = Path(__file__).parents[2]

#: of these only some operations are refused; the last rows of the table speak of them
PARTLY = ("ioctl", "fcntl", "prctl", "arch_prctl", "futex", "keyctl", "seccomp")
SILENT = ("io_uring_setup", "io_uring_enter", "io_uring_register", "rseq", "pkey_alloc")


def test_every_refused_call_is_named() -> None:
    text = (ROOT / "docs" / "limits.md").read_text()
    named = set(re.findall(r"`(\w+)`", text))
    refused = {
        name
        for name, call in by_name.items()
        if call.facts.refused and CallFlag.WARN in call.facts.flags
    }
    assert refused | set(SILENT) | set(PARTLY) <= named
    for name in SILENT:
        assert by_name[name].facts.refused


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_tells_of_every_command(command: str) -> None:
    assert f"`relive {command}" in (ROOT / "README.md").read_text()


def test_the_readme_starts_with_what_to_type() -> None:
    lines = [line for line in (ROOT / "README.md").read_text().splitlines() if line]
    assert lines[0] == "# relive"
    assert [line.split()[:2] for line in lines[1:3]] == [["make", "demo"], ["make", "test"]]
