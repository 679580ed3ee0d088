"""Programs for tests of C variables, compiled in many ways, and what names mean in them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from relive import live
from relive.conditions import reference
from relive.conditions.ir import to_signed
from relive.conditions.language import parse_value
from relive.live.process import Process
from tests.live.targets import PROGRAMS, output_to

COMPILERS = ("gcc", "clang")


def compiler(name: str) -> str:
    """A compiler's command; the test is skipped when it is not installed."""
    for candidate in (name, f"{name}-14", f"{name}-16", f"{name}-19"):
        if shutil.which(candidate):
            return candidate
    pytest.skip(f"{name} is not installed")


def build(directory: Path, source: str | Path, cc: str, *options: str, name: str = "") -> Path:
    """Compile a program of tests/live/programs, or a source file."""
    path = PROGRAMS / source if isinstance(source, str) else source
    made = directory / (name or path.stem)
    command = [cc, "-Wall", "-Wextra", "-Werror", *options, "-o", str(made), str(path), "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    return made


@dataclass
class Stopped:
    """A thread at a site: what expressions mean there."""

    process: Process
    hit: live.Hit

    def value(self, text: str) -> int:
        """The word of an expression as a signed number, by the reference evaluator.

        Raises ParseError and Undecided.
        """
        found = parse_value(text, self.process.names_at(self.hit.armed.address))
        word = reference.value(found.expr, self.hit.registers, self.process.read, self.hit.hit)
        return to_signed(word)


@contextmanager
def stopped(
    command: Sequence[str | Path], place: str, *, at: int = 1, when: str = ""
) -> Iterator[Stopped]:
    """A program at a hit of a place; it is killed afterwards."""
    with live.Session() as session:
        with quiet():
            process = session.start([str(word) for word in command])
        session.add(place, when, live.stop(at), evaluator="supervisor")
        for event in session.events(30):
            assert not isinstance(event, live.Exited), "the place was not reached"
            if isinstance(event, live.Hit):
                yield Stopped(event.process, event)
                break
        os.kill(process.pid, 9)


def quiet() -> AbstractContextManager[None]:
    """What is started meanwhile writes its output nowhere."""
    return output_to(Path(os.devnull))


def printed(command: Sequence[str | Path]) -> dict[str, int]:
    """What a program says that its expressions are: lines `expression=number`."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=60, check=True
    )
    lines = [line.rpartition("=") for line in done.stdout.splitlines()]
    return {text: int(number) for text, _, number in lines if number.lstrip("-").isdigit()}
