"""At every line of a program, compiled in several ways, variables are what gdb says."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from relive import live
from relive.conditions.errors import ConditionError
from relive.conditions.reference import Undecided
from tests.live.compiled import Stopped, build, compiler, quiet
from tests.live.targets import LONG, PROGRAMS

NAMES = re.findall(
    r"\S+",
    """
    x by scaled list[0].tag list[1].values[2] count mask bias outcome i part j p.first
    p.second c big a4 a5 a6 a7 a8 q.first q.second h length kk symb copy[0] copy[3] text[1]
    rounds r v s total bytes[2] items[3].values[1] argc
""",
)
LINES = len((PROGRAMS / "scopes.c").read_text().splitlines())


def asked_of_gdb(program: Path, line: int) -> tuple[int, dict[str, str]] | None:
    """The program counter at a line's first execution, and what gdb prints of each name."""
    commands = ["set confirm off", "set debuginfod enabled off", "set startup-with-shell off"]
    commands += [f"tbreak scopes.c:{line}", "run", "print/x $pc"]
    for name in NAMES:
        commands += [f"echo @@{name}\\n", f"output (long long)({name})", "echo \\n"]
    words = [word for command in commands for word in ("-ex", command)]
    done = subprocess.run(
        ["gdb", "-nx", "-q", "-batch", "-iex", "set auto-solib-add off", *words, str(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    pc = re.search(r"\$1 = (0x\w+)", done.stdout)
    if pc is None:
        return None  # no code
    found: dict[str, str] = {}
    for part in done.stdout.split("@@")[1:]:
        name, _, answer = part.partition("\n")
        found[name] = answer.strip()
    return int(pc[1], 16), found


@pytest.mark.limit(500)
@pytest.mark.parametrize("level", ["-O0", "-Og", "-O1", "-O2"] if LONG else ["-O0", "-O2"])
@pytest.mark.parametrize("cc", ["gcc", "clang"])
def test_what_gdb_says(cc: str, level: str, tmp_path: Path) -> None:
    if shutil.which("gdb") is None:
        pytest.skip("gdb is not installed")
    program = build(tmp_path, "scopes.c", compiler(cc), "-g", level, "-fno-pie", "-no-pie", "-w")
    equal = 0
    seen: set[int] = set()
    for line in range(1, LINES + 1, 1 if LONG else 4):
        asked = asked_of_gdb(program, line)
        if asked is None or asked[0] in seen:
            continue
        seen.add(asked[0])
        equal += compared(program, *asked)
    assert equal > (100 if level == "-O0" else 40)


def compared(program: Path, address: int, answers: dict[str, str]) -> int:
    """How many values are those of gdb; one that differs fails."""
    equal = 0
    with live.Session() as session:
        with quiet():
            session.start([str(program)])
        session.add(hex(address), "", live.stop(), evaluator="supervisor")
        hit = next(event for event in session.events(20) if isinstance(event, live.Hit))
        there = Stopped(hit.process, hit)
        for name, answer in answers.items():
            try:
                value: int | None = there.value(name)
            except (ConditionError, Undecided) as error:
                value = None
                why = str(error)
            number = re.match(r"-?\d+(?=\W|$)", answer)
            if value is not None and number is not None:
                assert (hex(address), name, value) == (hex(address), name, int(number[0]))
                equal += 1
            elif value is not None:
                # We see the variables of the function around an inlined one, too.
                assert re.match("No symbol|cannot subscript|Attempt to", answer), (name, answer)
            elif number is not None:
                # gdb looks into the caller, reads stack that is not written yet, and takes
                # pieces that are not described for zeros.
                reasons = "function's beginning|not set up yet|gives only a part|points to some"
                assert re.search(reasons, why), (name, answer, why)
    return equal
