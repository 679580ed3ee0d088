"""A child process that runs stubs as they are, for given registers and memory."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from relive.arch import x86_64
from relive.conditions.inprocess.lower_x86 import INDEX
from relive.conditions.inprocess.shared import Counters, RingAddresses
from relive.conditions.inprocess.stub import Stub
from relive.tracee.maps import read_maps

CODE: Final = 0x3000_0000
COUNTERS: Final = 0x3010_0000
RING: Final = 0x3020_0000
RING_SIZE: Final = 4096
STACK_TOP: Final = 0x3040_0000 + 4096
RANGES: Final = ((0x20000, 4096), (0x6A00_0000_0000, 4096))
ADDRESSES: Final = RingAddresses(RING, RING + 64, RING + 4096, RING_SIZE)
FRAME: Final = 2048

RIP: Final = x86_64.BY_NAME["rip"].index
EFLAGS: Final = x86_64.BY_NAME["eflags"].index
RSP: Final = x86_64.BY_NAME["rsp"].index
_JOB: Final = struct.Struct("<3Q18Q8Q2Q")
_ANSWER: Final = struct.Struct(f"<2Q18Q8QQ{FRAME}s{RING_SIZE}s")
_FACTS: Final = struct.Struct("<8Q")
_ORDER: Final = tuple(INDEX[number] for number in range(16))


@dataclass
class Job:
    stub: Stub
    regs: Sequence[int]
    memory: tuple[bytes, bytes] | None
    """Contents of RANGES, or None for what was there."""
    counters: Sequence[int] = (0,) * 8
    head: int = 0
    tail: int = 0


@dataclass
class Answer:
    signal: int
    stack_intact: bool
    regs: list[int]
    counters: Sequence[int]
    head: int
    frame: bytes
    records: bytes

    @property
    def offset(self) -> int:
        """Of the instruction that trapped or faulted, from the stub's start."""
        return self.regs[RIP] - CODE - (self.signal == 5)


def counters() -> Counters:
    return Counters(bytearray(64), 0, COUNTERS)


class Runner:
    """The child.  Jobs are sent in batches."""

    def __init__(self, program: Path) -> None:
        self._child = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1 << 20
        )
        assert self._child.stdin and self._child.stdout
        self._in, self._out = self._child.stdin, self._child.stdout
        names = ("fs_base", "gs_base", "es", "cs", "ss", "ds", "fs", "gs")
        self.facts = dict(zip(names, _FACTS.unpack(self._out.read(_FACTS.size)), strict=True))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *what: object) -> None:
        self._in.close()
        self._out.close()
        self._child.wait()

    def mapped(self) -> list[tuple[int, int]]:
        """What else the child can read."""
        maps = read_maps(self._child.pid)
        return [(m.start, m.end) for m in maps if (m.start, m.size) not in RANGES]

    def registers(self, wanted: Sequence[int], site: int) -> list[int]:
        """These registers, but with those that can't be chosen as they will be."""
        regs = list(wanted)
        for name, value in self.facts.items():
            regs[x86_64.BY_NAME[name].index] = value
        regs[RSP] = STACK_TOP - (wanted[RSP] & 0x7F8)
        regs[RIP] = site
        regs[x86_64.BY_NAME["orig_rax"].index] = (1 << 64) - 1
        regs[EFLAGS] = 0x202 | wanted[EFLAGS] & 0xCD5
        return regs

    def run(self, jobs: Iterable[Job]) -> Iterator[Answer]:
        batch: list[Job] = []
        for job in jobs:
            batch.append(job)
            if len(batch) == 4:
                yield from self._batch(batch)
                batch.clear()
        yield from self._batch(batch)

    def _batch(self, batch: list[Job]) -> Iterator[Answer]:
        for job in batch:
            code, entry = job.stub.assemble(CODE)
            gpr = [job.regs[i] for i in _ORDER]
            self._in.write(
                _JOB.pack(
                    len(code), entry, job.memory is not None,
                    *gpr, job.regs[EFLAGS], 0,
                    *job.counters, job.head, job.tail,
                ) + code + b"".join(job.memory or ())
            )  # fmt: skip
        self._in.flush()
        for job in batch:
            fields = _ANSWER.unpack(self._out.read(_ANSWER.size))
            regs = list(job.regs)
            for index, value in zip(_ORDER, fields[2:18], strict=True):
                regs[index] = value
            regs[EFLAGS], regs[RIP] = fields[18] & ~0x10000, fields[19]
            yield Answer(
                fields[0], bool(fields[1]), regs, fields[20:28], fields[28], fields[29], fields[30]
            )


class FrameMemory:
    """As much of a Target as a stub needs to say what was before."""

    def __init__(self, top: int, frame: bytes) -> None:
        self.top = top
        self.frame = frame

    def read(self, addr: int, size: int) -> bytes:
        at = addr - (self.top - len(self.frame))
        assert at >= 0 and at + size <= len(self.frame)
        return self.frame[at : at + size]
