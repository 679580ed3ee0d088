"""A recording to damage, and ways to make events."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from relive.trace.events import Encoder, Event, InItem, OutItem
from relive.trace.kinds import KIND_BITS, InWhat, Kind
from relive.trace.writer import ChunkWriter


def make_events(n: int, seed: int = 1) -> list[Event]:
    """n events of all shapes, META first and END last."""
    r = random.Random(seed)
    events = [Event(Kind.META, extra={"argv": ["/bin/true"], "env": {"A": "\udcff"}})]
    regs = [r.getrandbits(64) for _ in range(27)]
    for i in range(1, n - 1):
        kind = r.choice([k for k in Kind if k not in (Kind.META, Kind.END)])
        regs[r.randrange(27)] = r.getrandbits(64)
        data = r.randbytes(r.randrange(40))
        events.append(
            Event(
                kind,
                r.randrange(1, 4),
                r.randrange(500),
                time_ms=i,
                bits=r.choice([0, 0x20, 0x40, 0x80]) & KIND_BITS[kind],
                regs=regs if r.random() < 0.6 else None,
                result=r.randrange(-4096, 1 << 62) if r.random() < 0.6 else None,
                in_items=[
                    InItem(r.randrange(6), InWhat.BLOCK, len(data), data),
                    InItem(1, InWhat.STRING, len(data) + 5, data, r.getrandbits(64)),
                ]
                if r.random() < 0.4
                else None,
                out_items=[OutItem(r.getrandbits(47), data)] if r.random() < 0.4 else None,
                extra={"n": i} if r.random() < 0.2 else None,
            )
        )
    events.append(Event(Kind.END, extra={"events": n}))
    for i, event in enumerate(events):
        event.number = i
    return events


def write_recording(path: Path, events: list[Event], per_chunk: int, *, last: bool = True) -> None:
    writer = ChunkWriter(path)
    encoder = Encoder()
    for i in range(0, len(events), per_chunk):
        for event in events[i : i + per_chunk]:
            encoder.add(event)
        assert writer.write_chunk(*encoder.take(), last=last and i + per_chunk >= len(events))
    writer.finish()


@pytest.fixture(scope="session")
def events() -> list[Event]:
    return make_events(60)


@pytest.fixture
def recording(tmp_path: Path, events: list[Event]) -> Path:
    """Six chunks, complete."""
    write_recording(tmp_path / "rec", events, 10)
    return tmp_path / "rec"


@pytest.fixture
def write() -> Callable[..., None]:
    return write_recording
