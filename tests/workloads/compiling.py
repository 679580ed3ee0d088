"""The small C and C++ programs of tests/programs: their facts, and compiling them.

A program says in its first comment what it needs: `@link NAME` a library, `@status N` or
`@status SIGNAME` how it ends if not with 0, `@also static` that it is tried as a static binary too.
"""

from __future__ import annotations

import functools
import re
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent.parent / "programs"


@dataclass(frozen=True)
class Program:
    """A test program; status as subprocess tells it (negative for a killing signal)."""

    name: str
    source: Path
    libraries: tuple[str, ...]
    status: int
    static: bool

    @property
    def compiler(self) -> str:
        """The compiler's command."""
        return "g++" if self.source.suffix == ".cc" else "gcc"


def describe(source: Path) -> list[Program]:
    """A source file's programs: one, or two when it is tried as a static binary too."""
    text = source.read_text().split("*/")[0]
    facts = re.findall(r"@(link|status|also) (\w+)", text)
    libraries = tuple(value for key, value in facts if key == "link")
    status = 0
    for key, value in facts:
        if key == "status":
            status = int(value) if value.isdigit() else -signal.Signals[value]
    programs = [Program(source.stem, source, libraries, status, False)]
    if ("also", "static") in facts:
        programs.append(Program(f"{source.stem}_static", source, libraries, status, True))
    return programs


def all_programs() -> dict[str, Program]:
    """Every program, by name."""
    sources = sorted([*SOURCES.glob("*.c"), *SOURCES.glob("*.cc")])
    return {program.name: program for source in sources for program in describe(source)}


PROGRAMS = all_programs()


@functools.cache
def _build_directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="relive-programs-")


class CannotCompile(Exception):
    """The compiler is missing, or said no; the text says which."""


@functools.cache
def compiled(name: str) -> Path:
    """The binary of a program, compiled once a session.  Raises CannotCompile."""
    program = PROGRAMS[name]
    if shutil.which(program.compiler) is None:
        raise CannotCompile(f"{program.compiler} is missing")
    binary = Path(_build_directory().name) / name
    command = [program.compiler, "-O1", "-g", "-Wall", "-Wextra", f"-I{SOURCES / 'include'}"]
    command += ["-static"] if program.static else []
    command += ["-o", str(binary), str(program.source)]
    command += [f"-l{library}" for library in program.libraries]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if result.returncode:
        raise CannotCompile(result.stderr)
    return binary
