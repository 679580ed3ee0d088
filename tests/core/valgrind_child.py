"""What the C core does for live programs and conditions, once each; run under valgrind.

python valgrind_child.py DIRECTORY     compiled programs of tests/live/programs
"""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
from array import array
from pathlib import Path

from relive import _core, live
from relive.conditions import reference, supervisor
from relive.live import supervised
from relive.live.request import Access, Request
from tests.conditions.strategies import triples
from tests.live.targets import output_to, past


def conditions() -> None:
    """The stack machine; memory is never readable there, so loads fail in every way."""
    for expr, state in triples(150, 5):
        found = supervisor.evaluate(expr, state.regs, os.getpid(), state.hits)
        assert found in (0, 1, 2)
        reference.evaluate(expr, state.regs, state.memory.read, state.hits)


def ring() -> None:
    """Records over the end of a ring, one not finished, one of an unknown site."""
    memory = mmap.mmap(-1, 2 * 4096)
    words = memoryview(memory).cast("Q")
    start = 4096 - 40
    for at, record in ((start, 5), (start + 40, 5)):
        words[512 + at % 4096 // 8] = at + 1
        words[512 + (at + 8) % 4096 // 8] = 1
        assert record
    data, end = _core.ring_take(memory, 4096, 4096, start, array("I", (0, 5)), 1 << 20)
    assert (len(data), end) == (80, start + 80)
    try:
        _core.ring_take(memory, 4096, 4096, start, array("I", (0, 0)), 1 << 20)
    except ValueError:
        return
    raise AssertionError("an unknown site was read")


def session(directory: Path, command: list[str], requests: list[Request], follow: bool) -> None:
    """A program from its start to its end."""
    with output_to(directory / "output"), live.Session(follow=follow) as made:
        made.start(command)
        sites = made.add_all(requests)
        hits = 0
        for event in made.events(120):
            hits += isinstance(event, live.Hit)
            if isinstance(event, live.Hit):
                event.backtrace(limit=2, lines=False)
        made.records()
        assert all(site.counts().hits for site in sites), [site.counts() for site in sites]


def main() -> None:
    programs = Path(sys.argv[1])
    conditions()
    ring()
    with tempfile.TemporaryDirectory() as text:
        place = Path(text)
        threads = [str(programs / "threads"), "3", "30"]
        watch = live.collect("rdi", "u64[rsi]", "u64[rsp]")
        for options in ({}, {"emulate": False}, {"kind": supervised.HARDWARE}):
            with past(**options):
                requests = [
                    Request("site", "rsi % 7 == 3", live.stop(3), "supervisor"),
                    Request("outer+4", "u64[rsp] == 0", watch, "supervisor"),
                ]
                session(place, threads, requests, False)
        session(place, threads, [Request("site", "", watch, "supervisor")], False)
        session(place, threads, [Request("site", "rsi == 5", live.stop(), "inprocess")], False)
        watched = [str(programs / "watched"), "20"]
        requests = [Request("counter", "", watch, "supervisor", Access.WRITE)]
        session(place, watched, requests, False)
        signals = [str(programs / "signals"), "50"]
        session(place, signals, [Request("site", "", live.count(), "supervisor")], False)
        forks = [str(programs / "forks")]
        for follow in (False, True):
            session(place, forks, [Request("site", "", watch, "supervisor")], follow)
        command = [str(programs / "service"), "2"]
        pid = os.posix_spawn(command[0], command, os.environ, file_actions=_pipes())
        with live.Session() as made:
            made.attach(pid)
            made.add("site", "rdi == 12345", live.stop())
            made.run(0.2)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    print("done", flush=True)


def _pipes() -> list[tuple[int, int, int]]:
    reading, writing = os.pipe()
    os.set_inheritable(writing, False)
    nothing = os.open(os.devnull, os.O_WRONLY)
    return [(os.POSIX_SPAWN_DUP2, reading, 0), (os.POSIX_SPAWN_DUP2, nothing, 1)]


if __name__ == "__main__":
    main()
