"""Everything but the kernel's evaluators works for an ordinary user."""

from __future__ import annotations

import ctypes
import encodings.ascii
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relive import live
from relive.live import inprocessed, kernelized
from relive.live.request import Access, Request
from tests.live.targets import run_under

Programs = Callable[..., Path]
NOBODY = 65534
EARLY = (inprocessed, kernelized, encodings.ascii)
"""Imported now: the interpreter's files may be root's alone."""
_PR_SET_DUMPABLE = 4


@pytest.fixture
def place(program: Programs) -> Iterator[Path]:
    """A directory that anybody may use, with programs."""
    directory = Path(tempfile.mkdtemp(prefix="relive-nobody-", dir="/tmp"))
    for name in ("threads", "returns", "watched"):
        shutil.copy(program(name), directory / name)
    directory.chmod(0o777)
    yield directory
    shutil.rmtree(directory)


def as_nobody(work: Callable[[], Any]) -> Any:
    """What `work` returns, or raises, in a process of an ordinary user."""
    if os.geteuid() != 0:
        return work()  # we are one
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            # What was root is not ours to trace until it says so; neither are its children.
            assert ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0) == 0
            answer: tuple[bool, Any] = (True, work())
        except BaseException as error:
            answer = (False, f"{type(error).__name__}: {error} {getattr(error, 'hint', '')}")
        os.write(writing, pickle.dumps(answer))
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as file:
        good, result = pickle.loads(file.read())
    os.waitpid(pid, 0)
    if not good:
        raise live.LiveError(result)
    return result


@pytest.mark.parametrize("evaluator", ["auto", "inprocess", "supervisor"])
def test_sites(place: Path, evaluator: Any) -> None:
    def work() -> object:
        command: list[str | Path] = [place / "threads", "2", "500"]
        requests = [
            Request("site", "rsi == 77", live.count(), evaluator),
            Request("outer", "", live.collect("rsi", at_return=["rax"]), evaluator),
        ]
        ran = run_under(place, command, requests)
        values = sorted(record.values for record in ran.records)
        return ran.status, ran.counts, values, ran.sites[0].armed[0].evaluator

    status, counts, values, used = as_nobody(work)
    assert status == 0
    assert counts == [live.Counts(1000, 2, 998), live.Counts(1000, 1000)]
    # outer(call, thread, number) gives thread + number + 1
    assert values == sorted((thread, thread + n + 1) for thread in (0, 1) for n in range(500))
    assert used == ("supervisor" if evaluator == "supervisor" else "inprocess")


def test_watchpoints(place: Path) -> None:
    def work() -> object:
        request = Request("counter", "", live.count(), "auto", Access.WRITE)
        ran = run_under(place, [place / "watched", "20"], [request])
        return ran.status, ran.counts

    assert as_nobody(work) == (0, [live.Counts(20, 20)])


@pytest.mark.parametrize("evaluator", ["kernel", "uprobe"])
def test_what_needs_a_privilege_says_so(place: Path, evaluator: Any) -> None:
    request = Request("site", "rsi == 77", live.count(), evaluator)
    with pytest.raises(live.LiveError, match=r"can't be armed.*(CAP_|permi|Permi|privilege|root)"):
        as_nobody(lambda: run_under(place, [place / "threads", "1", "10"], [request]).counts)
