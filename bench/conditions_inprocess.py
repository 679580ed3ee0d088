"""Hits rejected, counted and collected inside the process: nanoseconds each, over the same loop
without a site.

Goals: a rejected hit at most 3 ns with one register compared and 8 ns with a memory word; a hit
collected with two values at most 25 ns.  Processor time; medians of rounds that alternate with
native ones; supervisor and program pinned to one core.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import common
from relive.conditions import ir
from relive.conditions.inprocess.evaluator import Action, Arm, InProcess, Site
from relive.conditions.inprocess.stub import RECORD_HEADER, Collect, Count, Stop
from tests.patching.traced import Process, Tracer, base_of, symbols

NEVER = ir.const(-5)
OTHERS = ("r15", "r14", "r13", "r12", "rbp", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi")
GOALS = {"1 register": 3.0, "1 memory word": 8.0, "collect 2 values": 25.0}


class Loop:
    """The program, stopped between its rounds."""

    def __init__(self, program: Path) -> None:
        self._pipe, writer = os.pipe()
        self.tracer = Tracer([str(program)], stdout=writer)
        os.close(writer)
        self.process = self.tracer.main
        self.evaluator = InProcess(self.process, self.process.patcher)
        self.process.evaluator = self.evaluator
        self._ended = False
        resolve = self.tracer._signal

        def signalled(process: Process, tid: int, sig: int) -> int:
            if resolve(process, tid, sig) == signal.SIGTRAP:
                self._ended = self.tracer.holding = True
            return 0

        self.tracer._signal = signalled  # type: ignore[method-assign]
        self.round()
        base = base_of(self.process, program.name)
        names = symbols(str(program))
        self._names = {name: (base + at, base + at + size) for name, (at, size) in names.items()}
        data = symbols(str(program), "STT_OBJECT")
        self.words = base + data["words"][0]
        self._iterations = base + data["iterations"][0]
        self._calls = base + data["calls"][0]
        self.use("hot", "site")

    def use(self, function: str, site: str) -> None:
        """Which loop is run, and the site in it."""
        self.function = self._names[function]
        self.site = self._names[site][0]
        self.process.write(self._calls, bytes((function == "hot_call",)))

    def set_iterations(self, count: int) -> None:
        self.iterations = count
        self.process.write(self._iterations, count.to_bytes(8, "little"))

    def round(self) -> float:
        """Nanoseconds an iteration."""
        self._ended = False
        self.tracer.run(lambda: self._ended)
        return float(os.read(self._pipe, 64))

    def take(self) -> bytes:
        """All records."""
        return b"".join(iter(self.evaluator.rings[0].take, b""))

    def measure(self, condition: ir.Expr, action: Action, rounds: int, several: bool) -> float:
        """Nanoseconds a hit costs."""
        # All records of a round fit into the ring.
        self.set_iterations(20_000 if isinstance(action, Collect) else 3_000_000)
        extra = []
        for _ in range(rounds):
            native = self.round()
            site = self.evaluator.arm([Arm(self.site, condition, action, self.function)])[self.site]
            assert isinstance(site, Site), site
            self.evaluator.several_tasks(several)
            extra.append(self.round() - native)
            assert site.hits == self.iterations, site.hits
            if isinstance(action, Collect):
                assert len(self.take()) == self.iterations * 8 * (
                    RECORD_HEADER + len(action.values)
                )
            else:
                assert site.candidates == (self.iterations if condition == ir.TRUE else 0)
            self.evaluator.several_tasks(False)
            self.evaluator.disarm([self.site])
        return statistics.median(extra)


def cases(loop: Loop) -> dict[str, tuple[ir.Expr, Action]]:
    """Conditions false at every hit, whose last term alone says so; and actions."""
    last = ir.Binary("eq", ir.reg("rbx"), NEVER)

    def live(name: str) -> ir.Expr:
        # True of what the register is in the loop (it calls nothing).
        return ir.Binary("ne", ir.reg(name), ir.const(0x1234_5678_9ABC_DEF0))

    def word(number: int, value: int) -> ir.Expr:
        return ir.Binary("eq", ir.Load(ir.Const(loop.words + 8 * number), 8), ir.Const(value))

    through = ir.Binary("eq", ir.Load(ir.reg("rsi"), 8), NEVER)
    two = Collect((ir.reg("rbx"), ir.reg("rsi")))
    loads = Collect((ir.reg("rbx"), ir.Load(ir.reg("rsi"), 8)))
    return {
        "count only": (ir.TRUE, Count(0)),
        "1 register": (last, Stop()),
        "1 register, 64-bit constant": (
            ir.Binary("eq", ir.reg("rbx"), ir.const(0x1234_5678_9ABC_DEF0)),
            Stop(),
        ),
        "16 registers": (ir.all_of([*map(live, OTHERS), live("rsp"), live("rdi"), last]), Stop()),
        "1 memory word": (through, Stop()),
        "1 memory word, fixed address": (word(7, 1), Stop()),
        "8 memory words": (ir.all_of([*(word(i, 0) for i in range(7)), word(7, 1)]), Stop()),
        "hits": (ir.Binary("eq", ir.Hits(), ir.const(1 << 40)), Stop()),
        "collect 2 values": (ir.TRUE, two),
        "collect a register and a word": (ir.TRUE, loads),
    }


def main(argv: Sequence[str] | None = None) -> None:
    options = common.parser(__doc__ or "", rounds=15).parse_args(argv)
    os.sched_setaffinity(0, {common.one_core()})
    common.title("Sites in the process")
    with common.compiled("site_loop") as programs:
        loop = Loop(programs / "site_loop")
        with loop.tracer:
            loop.set_iterations(3_000_000)
            native = statistics.median(loop.round() for _ in range(options.rounds))
            print(f"An iteration without a site takes {native:.2f} ns.  A hit adds:\n")

            def rows() -> Iterator[list[str]]:
                for name, (condition, action) in cases(loop).items():
                    one = loop.measure(condition, action, options.rounds, False)
                    more = loop.measure(condition, action, options.rounds, True)
                    goal = GOALS.get(name)
                    said = "" if goal is None else f"{goal:g} ns: {common.verdict(one <= goal)}"
                    yield [name, f"{one:.2f} ns", f"{more:.2f} ns", said]

            common.table(["", "one thread", "several threads", "goal"], rows())
            ring = loop.evaluator.rings[0]
            loop.use("hot_call", "at_call")
            loop.set_iterations(3_000_000)
            native = statistics.median(loop.round() for _ in range(options.rounds))
            one = loop.measure(cases(loop)["1 register"][0], Stop(), options.rounds, False)
            print(f"\nAt a call instruction: {one:.2f} ns; the call alone takes {native:.2f} ns.")
            loop.use("hot", "site")
            loop.set_iterations(20_000)
            arm = Arm(loop.site, ir.TRUE, Collect((ir.reg("rbx"),)), loop.function)
            loop.evaluator.arm([arm])
            costs = []
            for read in (
                lambda: len(loop.take()) // 40,
                lambda: sum(len(found.hits) for found in ring.columns()),
                lambda: sum(1 for _ in ring.read()),
            ):
                loop.round()
                began = time.process_time()
                records = read()
                costs.append((time.process_time() - began) / records * 1e9)
            print(
                "Taking a record out of the ring: {:.0f} ns; as columns: {:.0f} ns; as an object:"
                " {:.0f} ns.".format(*costs)
            )


if __name__ == "__main__":
    main()
