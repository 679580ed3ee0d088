"""A replayed task that never comes to its next event, and signals while it runs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relive.errors import DivergenceError
from relive.replay.session import Session
from relive.trace.events import Event, OutItem, decode_chunk, encode_events
from relive.trace.reader import Chunk, Recording
from tests.replay.conftest import record

Compiled = Callable[[str], Path]


class Altered(Recording):
    """A recording in which the program read another byte."""

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        for chunk in super().chunks(start):
            events = list(decode_chunk(chunk.raw, chunk.first_event))
            changed = [_with_a_y(event) for event in events]
            yield chunk._replace(raw=encode_events(changed))


def _with_a_y(event: Event) -> Event:
    if event.out_items and event.out_items[-1].data == b"x":
        event.out_items = (*event.out_items[:-1], OutItem(event.out_items[-1].address, b"y"))
    return event


@pytest.fixture
def endless(compiled: Compiled, tmp_path: Path) -> Iterator[Session]:
    """The replay of a recording that leads to an endless loop."""
    recording = tmp_path / "recording"
    done = record([compiled("waits_for_a_byte")], recording, stdin=b"x")
    assert (done.returncode, done.stdout) == (0, b"seen\n"), done.stderr
    with Altered(recording) as opened:
        yield Session(opened, echo=False)


def test_a_lost_task_is_a_divergence(endless: Session) -> None:
    endless.core.patience(1, 500)
    with pytest.raises(DivergenceError, match=r"no end of an interval after [\d.]+ s"):
        endless.run()


def test_python_hears_signals_while_a_task_runs(endless: Session) -> None:
    class Rung(Exception):
        pass

    def ring(number: int, frame: object) -> None:
        raise Rung

    before = signal.signal(signal.SIGUSR1, ring)
    main = threading.main_thread().ident
    assert main is not None
    # whenever it strikes, in Python or while the task runs: the replay ends with the exception
    timer = threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGUSR1))
    try:
        timer.start()
        with pytest.raises(Rung):
            endless.run()
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
