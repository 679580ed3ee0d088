"""A small suite for pytest to run while it is recorded: one of its tests fails on purpose."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("number", range(20))
def test_squares(number: int) -> None:
    assert number * number == sum(2 * i + 1 for i in range(number))


def test_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(json.dumps({"a": [1, 2, 3]}))
    assert json.loads((tmp_path / "file").read_text()) == {"a": [1, 2, 3]}


def test_process(capfd: pytest.CaptureFixture[str]) -> None:
    subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
    assert "from a child" in capfd.readouterr().out


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMETHING", "else")
    assert os.environ["SOMETHING"] == "else"


def test_that_fails() -> None:
    assert {"pid": os.getpid()} == {"pid": 0}


@pytest.mark.skip(reason="on purpose")
def test_skipped() -> None:
    pass
