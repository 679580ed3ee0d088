"""Conditions: what a rejected hit costs with every evaluator, with gdb and lldb, and with a bare C
tracer; what collecting costs; each against its goal.

    python -m bench.conditions [PART...] [--quick] [--rounds N]

rejected   this module: one program, one site (a jump, which every evaluator can have), conditions
           that are false at every hit, and only their last term says so: on one register, 16
           registers, one word of memory, eight words side by side, eight words on pages of their
           own.  Goals: in-process 3 ns with a register and 8 ns with a word, uprobe 1 us,
           supervisor within 15 % of bare C (by processor time).
inprocess  bench/conditions_inprocess.py: what a stub costs, by action and number of threads.
kernel     bench/conditions_kernel.py: BPF programs against ones written by hand in C.
collect    bench/conditions_collect.py: ten million calls of malloc in a real program.

All but the last run on one core.
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

from bench import common, conditions_collect, conditions_inprocess, conditions_kernel
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
LONG_NAMES = {
    "reg1": "1 register",
    "reg16": "16 registers",
    "mem1": "1 word",
    "mem8": "8 words",
    "mem8far": "8 words, 8 pages",
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


Way = Callable[[Loop, str], tuple[float, float]]

WAYS: dict[str, Way] = {
    "in-process": lambda loop, kind: loop.relive("inprocess", kind),
    "uprobe + BPF": lambda loop, kind: loop.relive("uprobe", kind),
    "hardware breakpoint + BPF": lambda loop, kind: loop.relive("kernel", kind),
    "supervisor": lambda loop, kind: loop.relive("supervisor", kind),
    "supervisor, copied instruction": lambda loop, kind: loop.relive("supervisor (copy)", kind),
    "supervisor, single-step": lambda loop, kind: loop.relive("supervisor (step)", kind),
    "supervisor, DR7": lambda loop, kind: loop.relive("supervisor (DR7)", kind),
    "bare C, rip set": lambda loop, kind: loop.bare("bare", kind),
    "bare C, single-step": lambda loop, kind: loop.bare("step", kind),
    "bare C, DR7": lambda loop, kind: loop.bare("debug", kind),
    "gdb's `break … if`": Loop.gdb,
    "lldb's `breakpoint set -c`": Loop.lldb,
}
GOALS: dict[tuple[str, str], float] = {
    ("in-process", "reg1"): 3,
    ("in-process", "mem1"): 8,
    **{("uprobe + BPF", kind): 1000 for kind in KINDS},
}
"""Nanoseconds."""


def available() -> dict[str, Way]:
    """The ways that can be measured; tells of the others."""
    ways = dict(WAYS)
    for name in list(ways):
        program = name.partition("'")[0]
        if program in ("gdb", "lldb") and not shutil.which(program):
            print(f"Not measured: {program} is not installed (apt-get install {program}).\n")
            del ways[name]
    return ways


def rejected(rounds: int) -> None:
    """The tables of rejected hits."""
    os.sched_setaffinity(0, {common.one_core()})
    common.title("A rejected hit")
    ways = available()
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
                for name, way in list(ways.items()):
                    try:
                        found = way(loop, kind)
                    except live.LiveError as error:
                        print(f"{name}, {kind}: {error}\n")
                        if "counted" not in str(error):
                            del ways[name]  # it can't be armed here
                        continue
                    wall.setdefault((name, kind), []).append(found[0] - native)
                    cpu.setdefault((name, kind), []).append(found[1])

    def median(name: str, kind: str) -> float:
        return statistics.median(wall[name, kind]) if (name, kind) in wall else float("nan")

    def saved(name: str, against: str) -> str:
        part = 1 - median(name, "mem1") / median(against, "mem1")
        return f"{part:.4%}" if part > 0.999 else f"{part:.1%}"

    def shown(name: str, kind: str) -> str:
        took = median(name, kind)
        goal = GOALS.get((name, kind))
        return _time(took) + ("" if goal is None or took <= goal else f" (**goal: {_time(goal)}**)")

    names = [name for name in WAYS if (name, "mem1") in wall]
    common.table(
        ["", *LONG_NAMES.values(), "saved against the supervisor", "against single-steps"],
        (
            [
                name,
                *(shown(name, kind) for kind in KINDS),
                saved(name, "supervisor"),
                saved(name, "supervisor, single-step"),
            ]
            for name in names
        ),
    )
    print(
        f"\nAn iteration without a site takes {native:.2f} ns, which is taken off.  Saved: the part"
        " of the overhead of rejected hits that is gone, for one word."
        "\n\nProcessor time against bare C doing the same (goal: 1.15 times):\n"
    )
    pairs = (
        ("supervisor", "bare C, rip set"),
        ("supervisor, copied instruction", "bare C, rip set"),
        ("supervisor, single-step", "bare C, single-step"),
        ("supervisor, DR7", "bare C, DR7"),
    )

    def ratio(one: str, other: str, kind: str) -> str:
        if (one, kind) not in cpu or (other, kind) not in cpu:
            return ""
        mine, theirs = min(cpu[one, kind]), min(cpu[other, kind])
        missed = "" if mine <= 1.15 * theirs else ", **missed**"
        return f"{mine / theirs:.2f} ({_time(mine)} / {_time(theirs)}{missed})"

    common.table(
        ["", *LONG_NAMES.values()],
        (
            [f"{one} / {other}", *(ratio(one, other, kind) for kind in KINDS)]
            for one, other in pairs
        ),
    )


PARTS = ("rejected", "inprocess", "kernel", "collect")


def main() -> None:
    parser = common.parser(__doc__ or "", rounds=3)
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="for a look, in a minute")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no part is called {' or '.join(sorted(unknown))}")
    cores = os.sched_getaffinity(0)
    rounds = 1 if args.quick else args.rounds
    for part in args.parts or PARTS:
        os.sched_setaffinity(0, cores)
        match part:
            case "rejected":
                rejected(rounds)
            case "inprocess":
                conditions_inprocess.main(["--rounds", str(5 * rounds)])
            case "kernel":
                conditions_kernel.main(["--rounds", str(3 * rounds)])
            case "collect":
                calls = 1_000_000 if args.quick else 10_000_000
                conditions_collect.main(["--rounds", "1", "--calls", str(calls)])


if __name__ == "__main__":
    main()
