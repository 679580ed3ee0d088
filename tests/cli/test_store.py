"""Where recordings are kept and how they are named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from relive.cli import naming, store
from relive.errors import RecordingError, ReliveError, UsageError
from tests.cli.conftest import Make


def test_the_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RELIVE_TRACE_DIR", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "b"))
    monkeypatch.setenv("HOME", str(tmp_path / "c"))
    assert store.root() == tmp_path / "a"
    monkeypatch.setenv("RELIVE_TRACE_DIR", "")
    assert store.root() == tmp_path / "b" / "relive"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert store.root() == tmp_path / "c" / ".local" / "share" / "relive"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert store.root() == tmp_path / "c" / ".local" / "share" / "relive"


def test_names_count_up(trace_dir: Path) -> None:
    for name in ("ls-0", "ls-9", "ls-x", "ls-l-30", "other-99"):
        (trace_dir / name).mkdir()
    place = naming.new("/usr/bin/ls")
    assert place.path == str(trace_dir / "ls-10")
    assert not os.path.exists(place.path)
    place.settled()
    place.settled()


def test_the_root_is_made_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELIVE_TRACE_DIR", str(tmp_path / "new" / "root"))
    place = naming.new("x")
    place.settled()
    assert (tmp_path / "new" / "root").stat().st_mode & 0o777 == 0o700


def test_parallel_names_differ(trace_dir: Path) -> None:
    code = (
        "import os\n"
        "from relive.cli import naming\n"
        "for _ in range(20):\n"
        "    place = naming.new('x'); os.mkdir(place.path); place.settled()\n"
    )
    racers = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [racer.wait() for racer in racers] == [0, 0, 0]
    assert sorted(os.listdir(trace_dir)) == sorted(f"x-{n}" for n in range(60))


@pytest.mark.parametrize(
    ("program", "stem"),
    [
        ("/usr/bin/ls", "ls"),
        ("a\nb", "a_b"),
        ("/", "program"),
        ("..", "program"),
        ("é" * 300, "é" * 100),
    ],
)
def test_stems(program: str, stem: str) -> None:
    assert naming.stem(program) == stem


def test_claim(tmp_path: Path) -> None:
    assert naming.claim(str(tmp_path / "a" / "b")).path == str(tmp_path / "a" / "b")
    (tmp_path / "empty").mkdir()
    naming.claim(str(tmp_path / "empty"))
    assert not (tmp_path / "empty").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(UsageError, match="not empty"):
        naming.claim(str(tmp_path / "full"))
    with pytest.raises(ReliveError, match="Not a directory"):
        naming.claim(str(tmp_path / "full" / "x"))
    assert (tmp_path / "full" / "x").exists()


def test_latest_is_replaced(trace_dir: Path) -> None:
    for name in ("a-0", "b-0"):
        naming.set_latest(str(trace_dir / name))
        assert os.readlink(trace_dir / "latest") == name
    assert os.listdir(trace_dir) == ["latest"]


def test_find(make: Make, trace_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make("ls-0")
    naming.set_latest(str(path))
    monkeypatch.chdir(trace_dir.parent)
    for name in (None, "ls-0", "latest", "recordings/ls-0", str(path), "./recordings/ls-0/"):
        assert store.find(name) == path
    with pytest.raises(RecordingError, match="no recording 'ls-1'"):
        store.find("ls-1")
    with pytest.raises(RecordingError, match="not a relive recording"):
        store.find("recordings")
    assert store.known("ls-0")
    assert not store.known("127")


def test_what_is_no_recording(trace_dir: Path) -> None:
    path = trace_dir / "x"
    path.mkdir()
    assert store.state(path) is None
    (path / "version").write_text("something else\n")
    assert store.state(path) is None
    (path / "version").unlink()
    os.mkfifo(path / "version")
    assert store.state(path) is None
    (path / "version").unlink()
    (path / "real").write_bytes(store.SIGNATURE)
    (path / "version").symlink_to("real")
    assert store.state(path) is None
    (path / "incomplete").write_bytes(store.SIGNATURE)
    assert store.state(path) == "incomplete"


def test_listing(make: Make, trace_dir: Path) -> None:
    for name in ("b-10", "b-9", "a-0"):
        make(name)
    (trace_dir / "junk").mkdir()
    (trace_dir / "link").symlink_to("a-0")
    assert [path.name for path in store.listing()] == ["a-0", "b-9", "b-10"]


def test_listing_without_a_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELIVE_TRACE_DIR", str(tmp_path / "nowhere"))
    assert store.listing() == []
