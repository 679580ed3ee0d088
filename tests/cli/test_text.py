"""Text helpers: safe to print, right to type, ranges, progress."""

from __future__ import annotations

import io
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relive.cli.progress import Progress, human
from relive.cli.ranges import is_range, merge, parse_range
from relive.cli.text import clip, command, plain, table
from relive.errors import DivergenceError, ReliveError, UsageError


@given(st.text())
def test_plain_is_printable(text: str) -> None:
    assert plain(text).isprintable()
    if text.isprintable():
        assert plain(text) == text


def test_plain_shows_bytes() -> None:
    assert plain(b"a\xff\n\x1b".decode("utf-8", "surrogateescape")) == "a\\xff\\n\\x1b"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(min_codepoint=1, max_codepoint=0x24F)), max_size=4))
def test_a_command_can_be_typed(argv: list[str]) -> None:
    text = command(argv)
    assert text.isprintable()
    shown = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {text}" if argv else "true"],
        capture_output=True,
        check=True,
        env={"LC_ALL": "C.UTF-8"},
    ).stdout
    assert shown == b"".join(word.encode() + b"\0" for word in argv)


def test_a_command_that_is_none() -> None:
    assert command({"a": 1}) == "?"


def test_tables() -> None:
    assert table([]) == ""
    assert table([("a", "bb", "c"), ("aaa", "b", "")], "01") == "a    bb  c\naaa   b\n"
    assert clip("abcdef", 4) == "abc…"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (34_567, "35 kB"),
        (999_999, "1.0 MB"),
        (5 * 10**12, "5.0 TB"),
        (10**16, "10000 TB"),
    ],
)
def test_human(size: int, text: str) -> None:
    assert human(size) == text


def test_ranges() -> None:
    assert parse_range("5", 10) == (5, 5)
    assert parse_range("end", 10) == (9, 9)
    assert parse_range("end", 0) == (0, 0)
    assert parse_range("3-7", 10) == (3, 7)
    assert parse_range("3-", 10) == (3, 9)
    assert parse_range("3-end", 10) == (3, 9)
    assert merge([(5, 6), (0, 1), (2, 3), (6, 9)]) == [(0, 3), (5, 9)]
    for text in ("", "-", "-3", "x", "3-x", "3--4", "٣", "ls-0"):
        assert not is_range(text)
        with pytest.raises(UsageError):
            parse_range(text, 10)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal() -> None:
    stream = Terminal()
    with Progress("packing", 2000, unit="bytes", stream=stream) as progress:
        progress.add(1)
        assert stream.getvalue() == ""  # short work shows nothing
        progress.due = 0.0
        progress.set(1500)
        assert stream.getvalue() == "\r\033[Kpacking: 1.5 kB of 2.0 kB (75 %)"
    assert stream.getvalue().endswith("\r\033[K")


def test_no_progress_in_a_file() -> None:
    stream = io.StringIO()
    with Progress("reading", unit="events", stream=stream) as progress:
        progress.due = 0.0
        progress.add(10)
    assert stream.getvalue() == ""
    assert progress.text() == "reading: 10 events"


def test_errors_say_what_to_do() -> None:
    assert str(ReliveError("what")) == "what"
    assert str(ReliveError("what", "do this")) == "what; do this"
    error = DivergenceError(7, "read", "write", 0x1000, task=2, where="libc.so+0x10")
    assert str(error) == (
        "replay diverged from the recording in event 7, task 2 at 0x1000 (libc.so+0x10):"
        " expected read, found write"
    )
    assert (error.event, error.status) == (7, 3)
