"""Processes that are attached to, fork, execute others, load libraries; and how they are left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relive import live
from relive.live.request import Access, Request
from tests.live.targets import LONG, NEVER, PROGRAMS, Service, natively, run_under

Programs = Callable[..., Path]
Start = Callable[[int], Service]


@pytest.mark.parametrize("evaluator", ["supervisor", "inprocess", "kernel"])
def test_children_are_let_go_of(program: Programs, tmp_path: Path, evaluator: Any) -> None:
    """fork, vfork and posix_spawn work; the vfork child counts: it is in the same memory."""
    command = (program("forks"), "10")
    request = Request("site", NEVER, live.stop(), evaluator)
    try:
        ran = run_under(tmp_path, command, [request])
    except live.CannotArm as error:
        pytest.skip(str(error))
    assert (ran.status, ran.output) == (0, "fine\n")
    # a hardware breakpoint is a thread's, not the memory's
    assert ran.counts[0].hits == (10 if evaluator == "kernel" else 20)


@pytest.mark.parametrize("evaluator", ["supervisor", "inprocess", "auto"])
def test_children_are_followed(program: Programs, tmp_path: Path, evaluator: Any) -> None:
    command = (program("forks"), "5", "execute")
    request = Request("site", NEVER, live.stop(), evaluator)
    ran = run_under(tmp_path, command, [request], follow=True)
    assert ran.output == "fine\n"
    assert os.waitstatus_to_exitcode(ran.status) == 42  # of what it executed in the end
    kinds = Counter(type(event).__name__ for event in ran.events)
    assert kinds == {"Forked": 5, "Executed": 11, "Exited": 16}
    assert ran.counts[0].hits == 5 * 2 + 5 + 5 + 5 + 1


@pytest.mark.parametrize("evaluator", ["supervisor", "inprocess", "kernel"])
def test_a_library_that_comes_and_goes(program: Programs, tmp_path: Path, evaluator: Any) -> None:
    library = program("plugin_lib", "-shared", "-fPIC")
    command = (program("plugin"), library, "10")
    request = Request("plugin_site", NEVER, live.stop(), evaluator)
    try:
        ran = run_under(tmp_path, command, [request])
    except live.CannotArm as error:
        pytest.skip(str(error))
    if any(isinstance(event, live.Failed) for event in ran.events):
        assert evaluator == "kernel"
        pytest.skip("no hardware breakpoints")
    assert (ran.status, ran.output) == (0, natively(command))
    assert sum(isinstance(event, live.Resolved) for event in ran.events) == 2
    assert ran.counts == [live.Counts(20, 0, 20, 0, 0)]


def test_ifunc_of_a_program_that_starts(program: Programs, tmp_path: Path) -> None:
    """memcpy is chosen by the dynamic linker: the site waits for that."""
    ran = run_under(tmp_path, (program("watched"), "3"), [Request("strlen", "", live.count())])
    assert ran.status == 0
    assert len(ran.sites[0].armed) == 1
    assert "IFUNC" in ran.sites[0].armed[0].wanted.location.note


@pytest.mark.limit(300)
@pytest.mark.parametrize("evaluator", ["supervisor", "inprocess", "kernel", "auto"])
def test_attach_and_detach(service: Start, evaluator: Any) -> None:
    """Again and again, under full load: the program and its code are as they were."""
    target = service(3)
    rounds = (300 if LONG else 30) if evaluator != "kernel" else 5
    for number in range(rounds):
        with live.Session() as session:
            process = session.attach(target.pid)
            before = _code(target.pid, process.symbols.resolve("site")[0].address)
            try:
                sites = session.add_all(
                    [Request(place, NEVER, live.stop(), evaluator) for place in ("site", "second")]
                )
            except live.CannotArm as error:
                assert evaluator == "kernel"
                pytest.skip(str(error))
            assert session.run(0.002 * (number % 5)) is None
            counts = [site.counts() for site in sites]
        assert all(count.hits == count.rejected for count in counts)
        address = process.symbols.resolve("site")[0].address
        assert _code(target.pid, address) == before
    assert _tracer(target.pid) == 0
    assert target.finish() == (0, "0\n")


def _code(pid: int, address: int) -> bytes:
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        return os.pread(file.fileno(), 64, address)


def _tracer(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("TracerPid:")[2].split()[0])


def test_nothing_stays_mapped(service: Start) -> None:
    target = service(1)
    before = _maps(target.pid)
    with live.Session() as session:
        session.attach(target.pid)
        session.add("site+0", NEVER)
        session.add("second", NEVER, evaluator="supervisor")
        session.run(0.05)
        assert len(_maps(target.pid)) > len(before)
    assert _maps(target.pid) == before
    assert target.finish() == (0, "0\n")


def _maps(pid: int) -> list[str]:
    # heap and stacks may grow
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return [line.split()[0] for line in lines if " r-xp " in line]


@pytest.mark.parametrize("evaluator", ["supervisor", "inprocess"])
def test_a_killed_command_leaves_the_program_unharmed(service: Start, evaluator: str) -> None:
    """SIGKILL, to relive and its whole process group, while the site is hit all the time."""
    for _ in range(10 if LONG else 4):
        target = service(2)
        command = [sys.executable, "-m", "relive", "break", "site", "--when", NEVER]
        command += ["--evaluator", evaluator, "-p", str(target.pid)]
        relive = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        assert relive.stderr is not None
        assert "site" in relive.stderr.readline()
        time.sleep(0.05)
        os.killpg(relive.pid, signal.SIGKILL)
        relive.wait()
        _until(lambda pid=target.pid: _tracer(pid) == 0)  # type: ignore[misc]
        relive.stderr.close()
        assert target.finish() == (0, "0\n")


def test_a_killed_session_is_cleaned_up_after(service: Start) -> None:
    """The guardian, when the tracer itself is killed: of a site that is not being hit."""
    target = service(1)
    code = (
        "import sys\nfrom relive import live\n"
        "session = live.Session(); session.attach(int(sys.argv[1]))\n"
        "session.add('main', evaluator='supervisor')\n"
        "session.add('bad', access=live.Access.WRITE, evaluator='supervisor')\n"
        "print('ready', flush=True); session.run()\n"
    )
    tracer = subprocess.Popen(
        [sys.executable, "-c", code, str(target.pid)], stdout=subprocess.PIPE, text=True
    )
    assert tracer.stdout is not None
    assert tracer.stdout.readline() == "ready\n"
    address = _address(target.pid, "main")
    assert _code(target.pid, address)[0] == 0xCC
    tracer.kill()
    tracer.wait()
    tracer.stdout.close()
    _until(lambda: _code(target.pid, address)[0] != 0xCC)
    _until(lambda: _tracer(target.pid) == 0)
    assert target.finish() == (0, "0\n")


def _address(pid: int, name: str) -> int:
    from relive.symbols.process import ProcessSymbols

    symbols = ProcessSymbols(pid)
    symbols.refresh()
    return symbols.resolve(name)[0].address


def _until(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come true"
        time.sleep(0.01)


def test_a_stopped_program_stays_stopped(service: Start) -> None:
    """Group stops go through, in both directions."""
    target = service(2)
    os.kill(target.pid, signal.SIGSTOP)
    _until(lambda: _state(target.pid) == "T")
    with live.Session() as session:
        session.attach(target.pid)
        site = session.add("site", NEVER, evaluator="supervisor")
        assert session.run(0.1) is None
        assert site.counts().hits == 0
        os.kill(target.pid, signal.SIGCONT)
        session.run(0.1)
        assert site.counts().hits > 0
        session.detach(stopped=True)
    _until(lambda: _state(target.pid) == "T")
    os.kill(target.pid, signal.SIGCONT)
    assert target.finish() == (0, "0\n")


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_blocked_call_is_made_again(tmp_path: Path) -> None:
    """A program that sleeps in calls of all kinds of restart while things are mapped into it."""
    code = (
        "import os, select, sys, time\n"
        "print('ready', flush=True)\n"
        "began = time.monotonic()\n"
        "time.sleep(0.7)\n"
        "assert 0.7 <= time.monotonic() - began < 5\n"
        "select.select([0], [], [], 0.5)\n"
        "print(repr(sys.stdin.read()))\n"
    )
    target = Service([sys.executable, "-c", code])
    try:
        for _ in range(5):
            with live.Session() as session:
                session.attach(target.pid)
                session.add("libc:clock_nanosleep+3", NEVER, evaluator="supervisor")
                session.add("libc:malloc", NEVER)
                assert session.run(0.25) is None
        assert target.finish() == (0, "''\n")
    finally:
        target.kill()


def test_what_can_not_be_attached_to(service: Start) -> None:
    with live.Session() as session:
        with pytest.raises(live.CannotAttach, match="no process"):
            session.attach(1 << 22)
        target = service(1)
        with live.Session() as other:
            other.attach(target.pid)
            with pytest.raises(live.CannotAttach, match="traces it already"):
                session.attach(target.pid)
        session.attach(target.pid)
        with pytest.raises(live.CannotArm, match="multiple of 8"):
            session.add("bad+4", evaluator="supervisor", access=Access.WRITE, size=8)
        with pytest.raises(live.CannotArm) as caught:
            for _ in range(5):
                session.add("bad", evaluator="supervisor", access=Access.WRITE, size=8)
        assert "debug registers" in str(caught.value)
    assert target.finish() == (0, "0\n")


def test_a_session_leaves_other_children_alone(service: Start) -> None:
    """Children of the same thread that are not watched can still be waited for."""
    target = service(2)
    with live.Session() as session:
        session.attach(target.pid)
        site = session.add("site", NEVER, evaluator="supervisor")
        child = subprocess.Popen(["true"])
        session.run(0.2)
        first = site.counts().hits
        session.run(0.2)
        assert site.counts().hits > first
        assert child.wait() == 0
    assert target.finish() == (0, "0\n")


def test_threads_that_come_later(program: Programs, tmp_path: Path) -> None:
    """Sites armed in one thread are met by all that it makes: debug registers, too."""
    command = (program("threads"), "16", "50")
    requests = [
        Request("total", "", live.count(), "supervisor", Access.ACCESS),
        Request("site", NEVER, live.stop(), "supervisor"),
    ]
    ran = run_under(tmp_path, command, requests)
    assert [count.hits for count in ran.counts] == [17, 800]
    assert (ran.status, ran.output) == (0, natively(command))
    assert (PROGRAMS / "threads.c").exists()
