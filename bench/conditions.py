"""A rejected hit: what it costs with every evaluator, with gdb, and with a bare C tracer.

One program, one site (a jump, which every evaluator can have), conditions that are false at
every hit: on one register, 16 registers, one word of memory, eight words side by side, and eight
words on pages of their own.  Everything runs on one core.  Goals: in-process 3 ns with a register
and 8 ns with a word, uprobe 1 us, supervisor within 15 % of bare C (by processor time).
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import common
from relive import live
from relive.live import supervised
from relive.symbols import cache

KINDS = {
    "reg1": "rbx == 1",
    "reg16": (
        "rax == 100 and rdx == 102 and rbp == 103 and r8 == 108 and r9 == 109 and r10 == 110 and"
        " r11 == 111 and r12 == 112 and r13 == 113 and r14 == 114 and r15 == 115 and"
        " rsi == words and rdi == far_words and rsp != 0 and rcx != 0 and rbx == 1"
    ),
    "mem1": "u64[rsi] == 1",
    "mem8": " and ".join(f"u64[rsi + {8 * i}] == {i // 7}" for i in range(8)),
    "mem8far": " and ".join(f"u64[rdi + {4096 * i}] == {i // 7}" for i in range(8)),
}
GDB = {
    "reg1": "$rbx == 1",
    "reg16": re.sub(r"\band\b", "&&", re.sub(r"\b(r[a-z0-9]+)\b", r"$\1", KINDS["reg16"]))
    .replace("words", "(long)&words")
    .replace("far_(long)&words", "(long)&far_words"),
    "mem1": "*(long *)$rsi == 1",
    "mem8": " && ".join(f"*(long *)($rsi + {8 * i}) == {i // 7}" for i in range(8)),
    "mem8far": " && ".join(f"*(long *)($rdi + {4096 * i}) == {i // 7}" for i in range(8)),
}

#: how often: enough to last a moment, few enough not to last for ever
HITS = {
    "inprocess": 20_000_000,
    "uprobe": 200_000,
    "kernel": 20_000,
    "supervisor": 20_000,
    "gdb": 1_000,
    "lldb": 300,
}


class Loop:
    """The program.  A result is (wall, processor) nanoseconds a hit."""

    def __init__(self, program: Path) -> None:
        self.program = program
        image = cache.load(program)
        self.site = image.symbols["site"][0].value

    def native(self) -> float:
        """Nanoseconds of an iteration without a site."""
        return self._of([str(self.program), "loop", "200000000"], 200_000_000)[0]

    @staticmethod
    def _of(command: list[str], hits: int) -> tuple[float, float]:
        output = subprocess.run(command, capture_output=True, text=True, timeout=300).stdout
        numbers = [
            int(word)
            for word in re.findall(r"^\d+(?: \d+)?$", output, re.M)
            for word in word.split()
        ]
        return numbers[0] / hits, sum(numbers[1:]) / hits

    def bare(self, way: str, kind: str) -> tuple[float, float]:
        hits = HITS["supervisor"]
        return self._of([str(self.program), way, kind, str(hits)], hits)

    def relive(self, evaluator: str, kind: str) -> tuple[float, float]:
        """With a Session; the output of the program goes to a file."""
        hits = HITS[evaluator.partition(" ")[0]]
        with tempfile.TemporaryFile("w+") as file, live.Session() as session:
            saved = os.dup(1)
            os.dup2(file.fileno(), 1)
            try:
                session.start([str(self.program), "loop", str(hits)])
            finally:
                os.dup2(saved, 1)
                os.close(saved)
            if evaluator.startswith("supervisor"):
                self._variant(session, evaluator.partition(" ")[2], kind)
            else:
                session.add("site", KINDS[kind], live.stop(), evaluator=evaluator)
            before = time.process_time_ns()
            for event in session.events(timeout=300):
                assert isinstance(event, live.Exited), event
            own = time.process_time_ns() - before
            if not evaluator.startswith("supervisor "):
                counts = next(iter(session.counts().values()))
                if not counts.hits == counts.rejected == hits:
                    raise live.LiveError(f"{evaluator} counted {counts}, not {hits}")
            file.seek(0)
            wall, cpu = map(int, file.read().split())
        return wall / hits, (cpu + own) / hits

    @staticmethod
    def _variant(session: live.Session, variant: str, kind: str) -> None:
        """The supervisor's ways to get past a breakpoint."""
        options: dict[str, Callable[[], dict[str, object]]] = {
            "": dict,
            "(copy)": lambda: {"emulate": False},
            "(step)": lambda: {"emulate": False, "out_of_line": False},
            "(DR7)": lambda: {"kind": supervised.HARDWARE},
        }
        chosen = options[variant]()
        original = supervised.arm

        def arm(process: live.Process, wanted: object) -> object:
            return original(process, wanted, **chosen)  # type: ignore[arg-type]

        supervised.arm = arm  # type: ignore[assignment]
        try:
            # a jump is not copied
            place = "behind" if variant == "(copy)" else "site"
            session.add(place, KINDS[kind], live.stop(), evaluator="supervisor")
        finally:
            supervised.arm = original

    def gdb(self, kind: str) -> tuple[float, float]:
        hits = HITS["gdb"]
        command = ["gdb", "-nx", "-batch", "-ex", "set confirm off"]
        command += ["-ex", f"break *(char *)&site if {GDB[kind]}", "-ex", "run"]
        return self._of([*command, "--args", str(self.program), "loop", str(hits)], hits)

    def lldb(self, kind: str) -> tuple[float, float]:
        hits = HITS["lldb"]
        condition = GDB[kind]
        command = ["lldb", "-b", "-o", f"breakpoint set -n site -c '{condition}'", "-o", "run"]
        return self._of([*command, "--", str(self.program), "loop", str(hits)], hits)


def _time(nanoseconds: float) -> str:
    if nanoseconds < 1000:
        return f"{nanoseconds:.1f} ns"
    return f"{nanoseconds / 1000:.2f} µs"


def main() -> None:
    parser = common.parser(__doc__ or "", rounds=3)
    rounds = parser.parse_args().rounds
    os.sched_setaffinity(0, {common.one_core()})
    common.title("A rejected hit")
    ways: list[tuple[str, Callable[[Loop, str], tuple[float, float]]]] = [
        ("in-process", lambda loop, kind: loop.relive("inprocess", kind)),
        ("uprobe + BPF", lambda loop, kind: loop.relive("uprobe", kind)),
        ("hardware breakpoint + BPF", lambda loop, kind: loop.relive("kernel", kind)),
        ("supervisor", lambda loop, kind: loop.relive("supervisor", kind)),
        (
            "supervisor, copied instruction",
            lambda loop, kind: loop.relive("supervisor (copy)", kind),
        ),
        ("supervisor, single-step", lambda loop, kind: loop.relive("supervisor (step)", kind)),
        ("supervisor, DR7", lambda loop, kind: loop.relive("supervisor (DR7)", kind)),
        ("bare C, rip set", lambda loop, kind: loop.bare("bare", kind)),
        ("bare C, single-step", lambda loop, kind: loop.bare("step", kind)),
        ("bare C, DR7", lambda loop, kind: loop.bare("debug", kind)),
        ("gdb", Loop.gdb),
    ]
    if shutil.which("lldb"):
        ways.append(("lldb", Loop.lldb))
    wall: dict[tuple[str, str], list[float]] = {}
    cpu: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="relive-bench-") as text:
        program = Path(text) / "conditions"
        source = common.PROGRAMS / "conditions.c"
        subprocess.run(["gcc", "-O1", "-g", "-Wall", "-o", program, source], check=True)
        loop = Loop(program)
        native = min(loop.native() for _ in range(rounds))
        for _ in range(rounds):
            for kind in KINDS:
                for name, way in ways:
                    try:
                        found = way(loop, kind)
                    except live.LiveError as error:
                        print(f"{name}: {error}")
                        continue
                    wall.setdefault((name, kind), []).append(found[0] - native)
                    cpu.setdefault((name, kind), []).append(found[1])

    def median(of: dict[tuple[str, str], list[float]], name: str, kind: str) -> float:
        return statistics.median(of[name, kind]) if (name, kind) in of else float("nan")

    names = [name for name, _ in ways if (name, "reg1") in wall]
    common.table(
        ["", *KINDS, "overhead saved against the supervisor (mem1)"],
        (
            [
                name,
                *(_time(median(wall, name, kind)) for kind in KINDS),
                f"{1 - median(wall, name, 'mem1') / median(wall, 'supervisor', 'mem1'):.3%}",
            ]
            for name in names
        ),
    )
    print(
        f"\nAn iteration without a site takes {native:.2f} ns.\n\nProcessor time against bare C:\n"
    )
    pairs = (
        ("supervisor", "bare C, rip set"),
        ("supervisor, copied instruction", "bare C, rip set"),
        ("supervisor, single-step", "bare C, single-step"),
        ("supervisor, DR7", "bare C, DR7"),
    )
    common.table(
        ["", *KINDS],
        (
            [
                f"{one} / {other}",
                *(
                    f"{min(cpu[one, kind]) / min(cpu[other, kind]):.2f}"
                    f" ({_time(min(cpu[one, kind]))} / {_time(min(cpu[other, kind]))})"
                    for kind in KINDS
                ),
            ]
            for one, other in pairs
        ),
    )


if __name__ == "__main__":
    main()
