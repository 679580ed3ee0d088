"""Sites on the instructions of real libraries, while a program works in them.

The program works in rounds, all the same; at the end of each it prints a line and raises
SIGTRAP.  One round is single-stepped: that gives how often every instruction is executed.
Then sites are armed, one after another or many together, and each round must print the same
line and count at each site exactly what was stepped.
"""

from __future__ import annotations

import os
import random
import signal
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from elftools.dwarf.callframe import FDE
from elftools.elf.elffile import ELFFile
from iced_x86 import Decoder

from relive import _core
from relive.arch import x86_64
from relive.conditions import ir
from relive.conditions.inprocess.evaluator import Arm, InProcess, Site
from relive.conditions.inprocess.stub import Collect, Count, Stop
from tests.patching.traced import RIP, Tracer

_SINGLESTEP: Final = 9
_STEPPED_AGAIN: Final = 20
"""Rounds that are stepped at most for sites that have another count than before."""
_RSP: Final = x86_64.BY_NAME["rsp"].index
_STACK: Final = 128 + 64


@dataclass
class Tally:
    """What became of the sites tried."""

    tried: int = 0
    armed: int = 0
    forms: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    hits: int = 0
    executed: int = 0
    """Sites that were executed."""
    strays: int = 0
    executed_armed: int = 0
    tried_executed: int = 0


class Torture:
    """One program in rounds."""

    def __init__(self, argv: Sequence[str], library: str, *, warm_up: int = 3) -> None:
        # A stop costs several times as much when it wakes another core.
        self._affinity = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(self._affinity)})
        self._pipe, writer = os.pipe()
        env = {"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0", "HOME": "/"}
        self.tracer = Tracer([*argv, "1000000"], stdout=writer, env=env)
        os.close(writer)
        self.process = self.tracer.main
        self._lines = b""
        self.unsteady: set[int] = set()
        """Instructions that are not executed equally often in each round."""
        self.drifts = False
        """Whether what a round executes changes slowly: a counter in a database, an adaptive
        interpreter.  A site with another count than before is then compared with a round that
        is stepped anew."""
        self.slack = 0.0
        """By which part of a count it may do so unnoticed."""
        self._at_end = False
        original = self.tracer._signal

        def signalled(process: object, tid: int, sig: int) -> int:
            deliver = original(self.process, tid, sig)
            if deliver == signal.SIGTRAP:
                assert struct.unpack_from("<iii", _core.siginfo(tid))[2] <= 0, hex(
                    self.process.get_registers(tid)[RIP]
                )
                self._at_end = self.tracer.holding = True
                return 0
            assert deliver == 0, f"signal {deliver} at {self.process.get_registers(tid)[RIP]:#x}"
            return 0

        self.tracer._signal = signalled  # type: ignore[method-assign]
        self.evaluator = InProcess(self.process, self.process.patcher)
        self.process.evaluator = self.evaluator
        self._records: Counter[int] = Counter()
        self.process.on_full = self._take
        for _ in range(warm_up):
            self.expected = self.round()
        # The largest: the interpreter may be a library, beside a program of the same name.
        self.text = max(
            (m for m in self.process.maps() if library in m.name and m.prot & 4),
            key=lambda m: m.size,
        )
        self.library = Path(self.text.name)
        self.clean = self.process.read(self.text.start, self.text.size)

    def __enter__(self) -> Torture:
        return self

    def __exit__(self, *what: object) -> None:
        self.tracer.__exit__(*what)
        os.sched_setaffinity(0, self._affinity)
        os.close(self._pipe)

    def _take(self) -> None:
        """Count the records of each site."""
        self._records.update(site.address for site, _ in self.evaluator.records())

    def round(self) -> bytes:
        """One round; its line."""
        self._at_end = False
        self.tracer.run(lambda: self._at_end, timeout=100)
        assert self._at_end, f"the program ended: {self.process.status}"
        return self._line()

    def _line(self) -> bytes:
        while b"\n" not in self._lines:
            data = os.read(self._pipe, 4096)
            assert data, "no more output"
            self._lines += data
        line, _, self._lines = self._lines.partition(b"\n")
        return line

    def learn(self) -> Counter[int]:
        """How often each instruction is executed in a round; those that differ are noted."""
        counts, again = self.step_round(), self.step_round()
        self.unsteady = {a for a in counts.keys() | again.keys() if counts[a] != again[a]}
        return counts

    def step_round(self) -> Counter[int]:
        """How often each instruction is executed in a round."""
        tid = self.process.pid
        counts: Counter[int] = Counter()
        last = 0
        repeats: dict[int, bool] = {}
        peek, resume, wait = _core.getregs, _core.resume, _core.wait
        rip = peek(tid)[RIP]
        while True:
            if rip != last or not repeats.setdefault(rip, self._is_rep(rip)):
                counts[rip] += 1
            last = rip
            resume(tid, _SINGLESTEP)
            _, status = wait(tid)
            assert os.WIFSTOPPED(status), status
            if os.WSTOPSIG(status) != signal.SIGTRAP:
                raise AssertionError(status)
            rip = peek(tid)[RIP]
            if struct.unpack_from("<iii", _core.siginfo(tid))[2] <= 0:
                break
        assert self._line() == self.expected
        return counts

    def _is_rep(self, addr: int) -> bool:
        instruction = next(iter(Decoder(64, self.process.read(addr, 15), ip=addr)))
        return instruction.has_rep_prefix or instruction.has_repne_prefix

    def functions(self) -> list[tuple[int, int]]:
        """Bounds of the library's functions, from .eh_frame."""
        base = self.text.start - self.text.offset
        found: dict[int, int] = {}
        with self.library.open("rb") as f:
            elf = ELFFile(f)
            low = min(
                s["p_vaddr"] - s["p_offset"]
                for s in elf.iter_segments("PT_LOAD")
                if s["p_flags"] & 1
            )
            for entry in elf.get_dwarf_info().EH_CFI_entries():
                if isinstance(entry, FDE) and entry.header["address_range"]:
                    start = base - low + entry.header["initial_location"]
                    found[start] = start + entry.header["address_range"]
        return sorted(found.items())

    def instructions(self, counts: Counter[int]) -> list[tuple[int, tuple[int, int]]]:
        """Every instruction of the functions that a round executes, with its function."""
        wanted = []
        for start, end in self.functions():
            if not (self.text.start <= start and end <= self.text.end):
                continue
            code = self.clean[start - self.text.start : end - self.text.start]
            addresses = [i.ip for i in Decoder(64, code, ip=start)]
            if any(counts[a] for a in addresses):
                wanted += [(a, (start, end)) for a in addresses]
        return wanted

    def site(
        self, address: int, function: tuple[int, int] | None, count: int, rng: random.Random
    ) -> Arm:
        """Some condition and action."""
        choose = rng.random()
        if choose < 0.2 and count < 500:
            return Arm(address, ir.TRUE, Collect((ir.reg("rip"), ir.Hits())), function)
        if choose < 0.4 and count < 50:
            return Arm(address, ir.TRUE, Stop(), function)
        if choose < 0.5:
            return Arm(address, ir.TRUE, Count(0), function)
        if choose < 0.7:
            # A word of the red zone, and one of the stack: never this.
            where = ir.Binary("add", ir.reg("rsp"), ir.const(rng.choice((0, 8, -8, -64))))
            condition = ir.Binary("eq", ir.Load(where, 8), ir.Const(0x1234_5678_9ABC_DEF5))
            return Arm(address, condition, Stop(), function)
        if choose < 0.8:
            condition = ir.Binary("eq", ir.reg("eflags"), ir.Const(0))
            return Arm(address, condition, Stop(), function)
        register = rng.choice(("rax", "rbx", "rcx", "rdi", "r15", "rsp"))
        condition = ir.Binary("eq", ir.reg(register), ir.Const(0x1234_5678_9ABC_DEF5))
        return Arm(address, condition, Stop(), function)

    def try_sites(
        self,
        wanted: Sequence[tuple[int, tuple[int, int] | None]],
        counts: Counter[int],
        rng: random.Random,
        tally: Tally,
    ) -> None:
        """Arms these together, runs a round, compares, disarms."""
        arms = [self.site(a, function, counts[a], rng) for a, function in wanted]
        outcome = self.evaluator.arm(arms)
        sites: list[Site] = []
        for arm in arms:
            site = outcome[arm.address]
            tally.tried += 1
            tally.tried_executed += bool(counts[arm.address])
            if isinstance(site, Site):
                assert site.patch.in_process
                sites.append(site)
                tally.forms[site.patch.form.value] += 1
            else:
                tally.refused[site] += 1
        self.process.hits.clear()
        self.process.traps.clear()
        self._records.clear()
        self.process.strays = 0
        line = self.round()
        names = ", ".join(f"{s.address:#x} {s.patch.form}" for s in sites[:4])
        assert line == self.expected, names
        suspects = [s for s in sites if not self._as_stepped(s, counts)]
        for site in sites:
            tally.hits += site.hits
            tally.executed_armed += bool(counts[site.address])
        stops = Counter(hit.site.address for hit in self.process.hits)
        self._take()
        records = self._records
        for site in sites:
            action, count = site.arm.action, site.hits
            if isinstance(action, Collect):
                assert records[site.address] == count
            elif site.arm.condition == ir.TRUE and isinstance(action, Stop):
                assert stops[site.address] == count
            assert site.candidates in (0, count)
        tally.armed += len(sites)
        tally.strays += self.process.strays
        self.evaluator.disarm([s.address for s in sites])
        assert not suspects or self.drifts, self._told(suspects, counts)
        if suspects:
            self._again(suspects, counts)

    def _as_stepped(self, site: Site, counts: Counter[int]) -> bool:
        count = counts[site.address]
        slack = int(count * self.slack)
        return site.address in self.unsteady or abs(site.hits - count) <= slack

    def _told(self, suspects: list[Site], counts: Counter[int]) -> str:
        return "\n".join(
            f"{s.address:#x} ({self.text.name} +{s.address - self.text.start:#x}) "
            f"{s.patch.template}: {s.hits} hits, {counts[s.address]} executions"
            for s in suspects
        )

    def _again(self, suspects: list[Site], counts: Counter[int]) -> None:
        """Has the program drifted?  Rounds are stepped anew, and those sites tried at once.

        More than one round, since what is executed once in eight rounds differs from time to
        time: a site is right if it was hit as often as it is executed in one of them.
        """
        seen: dict[int, set[int]] = {s.address: set() for s in suspects}
        wrong = suspects
        for _ in range(_STEPPED_AGAIN):
            counts.clear()
            counts.update(self.step_round())
            for address, found in seen.items():
                found.add(counts[address])
            arms = [Arm(s.address, ir.FALSE, Stop(), s.arm.function) for s in wrong]
            sites = [s for s in self.evaluator.arm(arms).values() if isinstance(s, Site)]
            assert self.round() == self.expected
            self.evaluator.disarm([s.address for s in sites])
            wrong = [
                s
                for s in sites
                if all(abs(s.hits - n) > int(n * self.slack) for n in seen[s.address])
            ]
            if not wrong:
                break
        assert not wrong, self._told(wrong, counts)
        self.unsteady |= {address for address, found in seen.items() if len(found) > 1}

    def finish(self) -> None:
        """Nothing is left behind."""
        assert self.process.read(self.text.start, self.text.size) == self.clean
        assert self.evaluator.close()
        assert self.round() == self.expected


def chunks(
    items: Sequence[tuple[int, tuple[int, int]]], size: int
) -> Iterator[list[tuple[int, tuple[int, int] | None]]]:
    for at in range(0, len(items), size):
        yield list(items[at : at + size])
