"""ls, ps, rm, traceinfo and dump on a recording made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Make, sample_events
from tests.conftest import Relive


def test_ls(relive: Relive, make: Make) -> None:
    make("echo-0")
    make("echo-1", sound=False)
    header, first, second = relive("ls", check=True).stdout.splitlines()
    assert header.split() == ["NAME", "DATE", "SIZE", "STATE", "COMMAND"]
    assert first.split()[0] == "echo-0"
    assert "  sound " in first
    assert "  incomplete " in second
    # A recording is data from somebody else: no escape sequence reaches the terminal.
    assert first.endswith("/bin/echo 'a b' $'\\x1b[31m'")


def test_ls_orders_and_formats(relive: Relive, make: Make) -> None:
    import os

    for at, name in enumerate(("c-0", "a-0", "b-0")):
        os.utime(make(name) / "version", (at, at))
    assert relive("ls", "-1").stdout.split() == ["a-0", "b-0", "c-0"]
    assert relive("ls", "-1r").stdout.split() == ["c-0", "b-0", "a-0"]
    assert relive("ls", "-1t").stdout.split() == ["b-0", "a-0", "c-0"]
    rows = json.loads(relive("ls", "--json").stdout)
    assert [row["name"] for row in rows] == ["a-0", "b-0", "c-0"]
    assert rows[0]["argv"] == ["/bin/echo", "a b", "\x1b[31m"]
    assert rows[0]["state"] == "sound"


def test_ls_empty_and_damaged(relive: Relive, make: Make) -> None:
    result = relive("ls", check=True)
    assert result.stdout == ""
    assert "no recordings in" in result.stderr
    (make("x-0") / "events").write_bytes(b"garbage")
    assert relive("ls", check=True).stdout.splitlines()[1].split()[-2:] == ["unreadable", "?"]


def test_ps(relive: Relive, make: Make) -> None:
    make()
    lines = relive("ps", "echo-0", check=True).stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["PID", "PPID", "EXIT", "CMD"],
        ["100", "--", "3", "/bin/echo", "'a", "b'", "$'\\x1b[31m'"],
        ["101", "100", "-11", "ls", "-l"],
    ]


def test_ps_of_an_incomplete_recording(relive: Relive, make: Make) -> None:
    make(sound=False)
    result = relive("ps", "echo-0", check=True)
    assert len(result.stdout.splitlines()) == 3
    assert "recording ended early" in result.stderr


def test_rm(relive: Relive, make: Make, trace_dir: Path) -> None:
    paths = [make(f"x-{n}") for n in range(3)]
    relive("rm", "x-0", paths[1], check=True)
    assert [path.exists() for path in paths] == [False, False, True]
    relive("rm", "--all", check=True)
    assert not paths[2].exists()
    assert relive("rm", "x-0").returncode == 1


def test_rm_refuses(relive: Relive, make: Make, trace_dir: Path, tmp_path: Path) -> None:
    keep = make("x-0")
    (tmp_path / "precious").mkdir()
    # One of them may not go: none goes.
    result = relive("rm", "x-0", tmp_path / "precious")
    assert result.returncode == 1
    assert "not a relive recording" in result.stderr
    assert keep.exists()
    assert (tmp_path / "precious").exists()
    (keep / "notes.txt").touch()
    result = relive("rm", "x-0")
    assert "also holds 'notes.txt'" in result.stderr
    assert keep.exists()
    relive("rm", "-f", "x-0", check=True)
    assert not keep.exists()


def test_rm_does_not_follow_links(relive: Relive, make: Make, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    recording = make("x-0")
    for stored in (recording / "files").iterdir():
        stored.unlink()
    (recording / "files").rmdir()
    (recording / "files").symlink_to(outside)
    relive("rm", "x-0")
    assert (outside / "file").exists()


def test_rm_drops_latest(relive: Relive, make: Make, trace_dir: Path) -> None:
    from relive.cli import naming

    naming.set_latest(str(make("x-0")))
    relive("rm", "latest", check=True)
    assert list(trace_dir.iterdir()) == []


def test_traceinfo(relive: Relive, make: Make) -> None:
    make()
    info = json.loads(relive("traceinfo", "echo-0", "--check", check=True).stdout)
    assert info["state"] == "sound"
    assert info["events"] == 13
    assert info["events_by_kind"]["SYSCALL"] == 2
    assert info["stored_files"] == 1
    assert info["ended_early"] is None
    assert info["recorded"]["argv"][0] == "/bin/echo"


def test_dump_everything(relive: Relive, make: Make) -> None:
    make()
    lines = relive("dump", "echo-0", check=True).stdout.splitlines()
    assert [int(line.split()[0]) for line in lines] == list(range(13))
    assert "\x1b" not in "".join(lines)
    assert "write(1, " in lines[2]
    assert lines[2].endswith(" = 5")
    assert lines[5].endswith("<unfinished ...>")
    assert "--- SIGSEGV {" in lines[6]
    assert lines[7].endswith("+++ killed by SIGSEGV +++")
    assert "<... wait4 resumed> 101, " in lines[8]
    assert lines[8].endswith(" = ? ERESTARTSYS")
    assert lines[9].endswith("1.500 ... rdtsc at 0x402000 = 0x4d")
    assert lines[10].endswith("40 bytes at 0x7000")
    assert lines[11].endswith("+++ exited with 3 +++")


@pytest.mark.parametrize(
    ("arguments", "events"),
    [
        (["2"], [2]),
        (["end"], [12]),
        (["2-4"], [2, 3, 4]),
        (["11-"], [11, 12]),
        (["11-end"], [11, 12]),
        (["11-99"], [11, 12]),
        (["5", "1-2", "2-3", "end"], [1, 2, 3, 5, 12]),
        (["--call", "write"], [2]),
        (["-c", "write,wait4"], [2, 5, 8]),
        (["--task", "2"], [3, 4, 6, 7]),
        (["-t2", "-cexecve"], [4]),
        (["-k", "trap,END"], [9, 12]),
        (["4-", "-t1", "-c", "wait4"], [5, 8]),
    ],
)
def test_dump_ranges_and_filters(
    relive: Relive, make: Make, arguments: list[str], events: list[int]
) -> None:
    make()
    lines = relive("dump", "echo-0", *arguments, check=True).stdout.splitlines()
    assert [int(line.split()[0]) for line in lines] == events
    rows = relive("dump", "echo-0", "--json", *arguments, check=True).stdout.splitlines()
    assert [json.loads(row)["event"] for row in rows] == events


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["13"], "there is no event 13; the last one is 12"),
        (["4-2"], "the range 4-2 ends before it begins"),
        (["x"], "'x' is no range of events"),
        (["-c", "foo"], "no system call is called 'foo'"),
        (["-k", "foo"], "no kind of event is called 'foo'"),
        (["-t", "foo"], "--task takes a whole number, not 'foo'"),
    ],
)
def test_dump_mistakes(relive: Relive, make: Make, arguments: list[str], message: str) -> None:
    make()
    result = relive("dump", "echo-0", *arguments)
    assert result.returncode == 2
    assert message in result.stderr


def test_dump_from_the_middle_of_a_call(relive: Relive, make: Make) -> None:
    make()
    text = relive("dump", "echo-0", "8", check=True).stdout
    assert "<... wait4 resumed>) = ? ERESTARTSYS" in text
    # The beginning is known though it is not shown.
    text = relive("dump", "echo-0", "4-8", "--kind", "exit", check=True).stdout
    assert "<... wait4 resumed> 101, " in text


def test_dump_of_the_latest(relive: Relive, make: Make) -> None:
    from relive.cli import naming

    naming.set_latest(str(make("x-0")))
    assert relive("dump", "3", check=True).stdout.split()[0] == "3"
    # A recording may be called like a range.
    make("7")
    assert len(relive("dump", "7", check=True).stdout.splitlines()) == 13


def test_dump_raw(relive: Relive, make: Make) -> None:
    make()
    text = relive("dump", "echo-0", "--raw", "2", "10", check=True).stdout
    assert "rsi=0x1234" in text
    assert "68 65 6c 6c 6f" in text
    assert "out 0x7000 40 bytes" in text


def test_dump_json_has_everything(relive: Relive, make: Make) -> None:
    make()
    row = json.loads(relive("dump", "echo-0", "--json", "2", check=True).stdout)
    assert row["call"] == "write"
    assert row["regs"]["rdi"] == 1
    assert row["in"] == [
        {"arg": 1, "what": "block", "length": 5, "data": b"hello".hex(), "digest": None}
    ]


def test_dump_of_damage(relive: Relive, make: Make) -> None:
    path = make() / "events"
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    result = relive("dump", "echo-0")
    assert result.returncode == 1
    assert "the log is cut short" in result.stderr
    path.write_bytes(whole[:50] + bytes([whole[50] ^ 1]) + whole[51:])
    result = relive("dump", "echo-0")
    assert result.returncode == 1
    assert "damaged" in result.stderr


def test_every_event_has_a_line() -> None:
    from relive.cli.eventtext import Describer, as_json, sections

    describer = Describer()
    for event in sample_events():
        assert "\n" not in describer.describe(event)
        json.dumps(as_json(event))
        sections(event)
