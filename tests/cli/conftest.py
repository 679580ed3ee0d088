"""A small recording of every kind of event, made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from relive.arch import x86_64
from relive.trace.events import Event, InItem, OutItem, encode_events
from relive.trace.kinds import SIGNAL_SYNC, InWhat, Kind, Trap
from relive.trace.store import FileStore
from relive.trace.writer import ChunkWriter

Make = Callable[..., Path]


def registers(**values: int) -> tuple[int, ...]:
    """All registers; those not named are 0."""
    return tuple(values.get(register.name, 0) for register in x86_64.REGISTERS)


def entry(nr: int, *args: int) -> tuple[int, ...]:
    """The registers at the entry of a system call."""
    named = dict(zip(x86_64.SYSCALL_ARGS, args, strict=False))
    return registers(orig_rax=nr, rip=0x401000, **named)


def sample_events() -> list[Event]:
    """A process that writes, forks a child that execs and crashes, and exits with 3."""
    return [
        Event(Kind.META, extra={"argv": ["/bin/echo", "a b", "\x1b[31m"], "cwd": "/", "env": {}}),
        Event(
            Kind.TASK_NEW,
            1,
            extra={"parent": 0, "tid": 100, "tgid": 100, "flags": 0},
            regs=registers(),
        ),
        Event(
            Kind.SYSCALL,
            1,
            1,
            regs=entry(1, 1, 0x1234, 5),
            result=5,
            in_items=[InItem(1, InWhat.BLOCK, 5, b"hello")],
        ),
        Event(
            Kind.TASK_NEW,
            2,
            extra={"parent": 1, "tid": 101, "tgid": 101, "flags": 17},
            regs=registers(),
        ),
        Event(
            Kind.SYSCALL,
            2,
            59,
            regs=entry(59, 1, 2, 3),
            result=0,
            in_items=[
                InItem(0, InWhat.STRING, 7, b"/bin/ls"),
                InItem(1, InWhat.STRING, 2, b"ls"),
                InItem(1, InWhat.STRING, 2, b"-l"),
            ],
        ),
        Event(Kind.ENTRY, 1, 61, regs=entry(61, 101, 0, 0)),
        Event(Kind.SIGNAL, 2, 11, regs=registers(), bits=SIGNAL_SYNC, extra={"si_code": 1}),
        Event(Kind.TASK_EXIT, 2, result=11),
        Event(Kind.EXIT, 1, 61, result=-512),
        Event(Kind.TRAP, 1, Trap.RDTSC, regs=registers(rip=0x402000), result=77, time_ms=1500),
        Event(Kind.MEMWRITE, 1, out_items=[OutItem(0x7000, b"x" * 40)]),
        Event(Kind.TASK_EXIT, 1, result=3 << 8),
        Event(Kind.END, extra={"events": 13}),
    ]


@pytest.fixture
def make(trace_dir: Path, tmp_path: Path) -> Make:
    """make(name, sound=True): a recording of that name under the root."""

    def make_one(name: str = "echo-0", *, sound: bool = True) -> Path:
        path = trace_dir / name
        events = sample_events() if sound else sample_events()[:-1]
        writer = ChunkWriter(path)
        writer.write_chunk(encode_events(events), len(events), last=sound)
        source = tmp_path / "mapped"
        source.write_bytes(b"\x7fELF" + bytes(5000))
        store = FileStore(path)
        with source.open("rb") as file:
            store.add(file.fileno())
        store.close()
        if sound:
            writer.finish()
        else:
            writer.close()
        return path

    return make_one
