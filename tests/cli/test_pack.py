"""pack: self-contained recordings, and one file of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from relive.cli.packed import is_packed, unpacked
from relive.errors import RecordingError
from tests.cli.conftest import Make
from tests.conftest import Relive


def tree(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def test_there_and_back(relive: Relive, make: Make, trace_dir: Path, tmp_path: Path) -> None:
    path = make("ls-0")
    packed = tmp_path / "x.relive"
    relive("pack", "ls-0", "-o", packed, check=True)
    assert is_packed(packed)
    assert packed.stat().st_mode & 0o777 == 0o600
    relive("pack", "-x", packed, "-o", tmp_path / "out", check=True)
    assert tree(tmp_path / "out") == tree(path)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700
    relive("pack", "-x", packed, check=True)
    assert (trace_dir / "x-0").is_dir()
    with unpacked(packed) as directory:
        assert tree(directory) == tree(path)
    assert not directory.exists()


def test_views_of_a_packed_recording(relive: Relive, make: Make, tmp_path: Path) -> None:
    make("ls-0")
    packed = tmp_path / "12"  # a name that a range of events could have
    relive("pack", "ls-0", "-o", packed, check=True)
    for view in ("ps", "dump"):
        plain = relive(view, "ls-0", check=True).stdout
        assert plain and relive(view, packed, check=True).stdout == plain
    info = json.loads(relive("traceinfo", "--check", packed, check=True).stdout)
    assert (info["path"], info["state"]) == (str(packed), "sound")
    packed.write_text("something else")
    for view in ("ps", "dump", "traceinfo"):
        assert "is not" in relive(view, packed).stderr


def test_in_place(relive: Relive, make: Make, tmp_path: Path) -> None:
    path = make("ls-0")
    stored = next((path / "files").iterdir())
    os.link(stored, tmp_path / "shared")
    assert "1 file copied" in relive("pack", "ls-0", check=True).stderr
    assert stored.stat().st_nlink == 1
    assert "0 files copied" in relive("pack", "ls-0", check=True).stderr


def test_files_in_the_way(relive: Relive, make: Make, tmp_path: Path) -> None:
    make("ls-0")
    packed = tmp_path / "x.relive"
    packed.write_text("mine")
    result = relive("pack", "ls-0", "-o", packed)
    assert result.returncode == 2
    assert "exists already" in result.stderr
    assert packed.read_text() == "mine"
    relive("pack", "-f", "ls-0", "-o", packed, check=True)
    assert is_packed(packed)
    (tmp_path / "full" / "x").mkdir(parents=True)
    assert "not empty" in relive("pack", "-x", packed, "-o", tmp_path / "full").stderr


def test_what_is_not_packed(relive: Relive, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "text").write_text("hello")
    for name in ("fifo", "text", "nothing", "."):
        assert not is_packed(tmp_path / name)
        assert relive("pack", "-x", tmp_path / name).returncode == 2


def test_a_damaged_file_leaves_nothing(
    relive: Relive, make: Make, trace_dir: Path, tmp_path: Path
) -> None:
    make("ls-0")
    packed = tmp_path / "x.relive"
    relive("pack", "ls-0", "-o", packed, check=True)
    data = packed.read_bytes()
    for cut in (512, 600, 2000, len(data) - 1024):
        packed.write_bytes(data[:cut])
        result = relive("pack", "-x", packed, "-o", tmp_path / "out")
        assert result.returncode == 1
        assert not (tmp_path / "out").exists()
    with pytest.raises(RecordingError), unpacked(packed):
        pass
    assert [path.name for path in trace_dir.iterdir()] == ["ls-0"]
