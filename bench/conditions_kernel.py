"""Hits rejected in the kernel: microseconds each, and against a bare C program doing the same.

The bare program has a BPF program written by hand, with the constants in its instructions.  All
times are processor time of the process that runs over the site.  Goal: within 15 % of bare C.
"""

from __future__ import annotations

import ctypes
import functools
import os
import statistics
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import common
from relive.arch import x86_64
from relive.conditions import ir
from relive.conditions.ir import Binary, Const, Expr, Load, Reg
from relive.conditions.kernel import machine, uprobe
from relive.conditions.kernel.counting import CountingSite, Plan
from relive.conditions.kernel.programs import Programs
from relive.conditions.kernel.site import BreakpointSite, Collecting, Full, UprobeSite
from relive.doctor import kernel

RBX, RSP, RDI = ir.reg("rbx").index, ir.reg("rsp").index, ir.reg("rdi").index
OTHERS = (*(i for i in range(15) if i != RBX), RSP)
NEVER = ir.const(-5)

KINDS = {
    "reg1": "1 register",
    "reg16": "16 registers",
    "mem1": "1 memory word",
    "mem8": "8 memory words",
}


def condition(kind: str, regs: tuple[int, ...], words: int) -> Expr:
    """False at every hit; only its last term says so."""

    def register(index: int) -> Expr:
        return Binary("eq", Reg(index), Const(regs[index]))

    def word(number: int, value: int) -> Expr:
        return Binary("eq", Load(Const(words + 8 * number), 8), Const(value))

    last = Binary("eq", Reg(RBX), NEVER)
    match kind:
        case "reg16":
            return ir.all_of([*map(register, OTHERS), last])
        case "mem1":
            return word(7, 1)
        case "mem8":
            return ir.all_of([*(word(i, 0) for i in range(7)), word(7, 1)])
    return last


class Target:
    """The bare program's loop, traced by this process and stopped at the site of its first run."""

    def __init__(self, path: Path, hits: int, programs: Programs) -> None:
        self.process = subprocess.Popen(
            [path / "bare_breakpoint", "target", "-", str(hits)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin
        assert self.process.stdout
        self.pid = self.process.pid
        self.site, self.branch, self.words = (
            int(word, 16) for word in self.process.stdout.readline().split()
        )
        kernel.ptrace("ptrace", kernel.PTRACE_SEIZE, self.pid, data=kernel.O_EXITKILL)
        with BreakpointSite(programs, self.site) as site:
            site.attach(self.pid)
            self.process.stdin.write("\n")
            self.process.stdin.close()
            _, status = os.waitpid(self.pid, 0)
            assert os.WIFSTOPPED(status), status
            regs = (ctypes.c_uint64 * len(x86_64.REGISTERS))()
            kernel.ptrace("ptrace", kernel.PTRACE_GETREGS, self.pid, data=regs)
        regs[RDI] = hits
        self.regs = tuple(regs)

    def finish(self) -> float:
        """Run to the end; microseconds a hit."""
        kernel.ptrace("ptrace", kernel.PTRACE_CONT, self.pid)
        _, status = os.waitpid(self.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        assert status == 0, status
        assert self.process.stdout
        with self.process.stdout as output:
            return float(output.read()) / 1000


def bare(path: Path, way: str, kind: str, hits: int) -> float:
    """Microseconds a hit of the bare program."""
    words = [str(path / "bare_breakpoint"), way, kind, str(hits)]
    return float(subprocess.run(words, capture_output=True, check=True, text=True).stdout) / 1000


def breakpoint_hits(
    path: Path, programs: Programs, kind: str, hits: int, collect: Collecting | None = None
) -> float:
    """Microseconds a hit at a hardware breakpoint; none is missed."""
    target = Target(path, hits, programs)
    expr = ir.TRUE if collect else condition(kind, target.regs, target.words)
    with BreakpointSite(programs, target.site, expr, collect=collect) as site:
        site.attach(target.pid)
        took = target.finish()
        assert site.counts()[:2] == (hits, hits if collect else 0), site.counts()
    return took


def uprobe_hits(
    path: Path, programs: Programs, kind: str, hits: int, collect: Collecting | None = None
) -> float:
    """Microseconds a hit at a uprobe on the loop's branch."""
    target = Target(path, hits, programs)
    expr = ir.TRUE if collect else condition(kind, target.regs, target.words)
    code = b"\x72\xf0"  # jb
    site = UprobeSite(programs, target.pid, target.branch, code, expr, collect=collect)
    with site:
        site.attach()
        took = target.finish()
        # The first run of the loop goes over the branch too.
        assert site.counts().hits == hits + 1, site.counts()
    return took


def counted_hits(path: Path, programs: Programs, hits: int) -> float:
    """Microseconds a hit that perf only counts."""
    target = Target(path, hits, programs)
    with CountingSite(target.pid, target.site, Plan(1 << 62, None)):
        return target.finish()


def _goal(what: str, microseconds: float, ratio: float) -> str:
    if what.startswith("uprobe"):
        return f"1 µs: {common.verdict(microseconds <= 1)}"
    return f"1.15 times: {common.verdict(ratio <= 1.15)}"


def main(argv: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__ or "", rounds=9)
    parser.add_argument("--hits", type=int, default=20_000)
    args = parser.parse_args(argv)
    hits: int = args.hits
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # as the bare program does

    common.title(f"{hits} hits rejected in the kernel")
    if why := machine.missing():
        print(f"not measured: {why}")
        return
    with common.compiled("bare_breakpoint") as path, Programs() as programs:

        def compare(what: str, mine: Callable[[], float], other: Callable[[], float]) -> list[str]:
            ours, theirs = [], []
            for _ in range(args.rounds):
                theirs.append(other())
                ours.append(mine())
            one, two = statistics.median(theirs), statistics.median(ours)
            ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
            return [
                what,
                f"{one:.2f}",
                f"{two:.2f}",
                f"{two / one:.2f}",
                f"{ratios[0]:.2f}-{ratios[-1]:.2f}",
                _goal(what, two, two / one),
            ]

        ways: list[tuple[str, Callable[..., float]]] = [("breakpoint", breakpoint_hits)]
        if why := uprobe.missing():
            print(f"uprobes are not measured: {why}\n")
        else:
            ways.append(("uprobe", uprobe_hits))
        rows = (
            compare(
                f"{way}, {name}",
                functools.partial(run, path, programs, kind, hits),
                functools.partial(bare, path, way, kind, hits),
            )
            for way, run in ways
            for kind, name in KINDS.items()
        )
        counting = (
            compare(
                "counting, no condition",
                lambda: counted_hits(path, programs, hits),
                lambda: bare(path, "count", "reg1", hits),
            )
            for _ in range(1)
        )
        common.table(
            ["", "bare C, µs a hit", "relive, µs a hit", "ratio", "of a round", "goal"],
            (row for group in (rows, counting) for row in group),
        )

        # What collecting adds to deciding.
        values = Collecting((Reg(RBX), Reg(RDI)), Full.DROP, 1 << 24)

        def collecting(run: Callable[..., float]) -> float:
            return statistics.median(
                run(path, programs, "reg1", hits, values) for _ in range(args.rounds)
            )

        print()
        common.table(
            ["collect two values", "µs a hit"],
            ([way, f"{collecting(run):.2f}"] for way, run in ways),
        )


if __name__ == "__main__":
    main()
