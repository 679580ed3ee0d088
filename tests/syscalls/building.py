"""Compiling what the tests of the table need: the oracle, its programs, small probes."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CORE = ROOT / "src" / "core"
ENCODER = ROOT / "src" / "relive" / "syscalls" / "encode.py"


@cache
def build_directory() -> Path:
    """A directory for the results, removed when the session ends."""
    directory = Path(tempfile.mkdtemp(prefix="relive-syscalls-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def run_compiler(*arguments: str) -> None:
    """Run gcc; its complaints are the failure's message."""
    done = subprocess.run(["gcc", *arguments], capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise AssertionError(done.stderr)


@cache
def encoded() -> Path:
    """``table_data.inc``, made the way the build makes it: by a bare interpreter."""
    target = build_directory() / "table_data.inc"
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(ENCODER), str(target)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    return target


@cache
def oracle() -> Path:
    """The oracle, with the parts of the core that it judges."""
    target = build_directory() / "oracle"
    core = [*sorted(CORE.glob("params_*.c")), *(CORE / name for name in ("mem.c", "digest.c"))]
    run_compiler(
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        f"-I{CORE}",
        f"-I{encoded().parent}",
        "-o",
        str(target),
        str(HERE / "oracle.c"),
        str(CORE / "table.c"),
        *map(str, core),
    )
    return target


@cache
def program(name: str) -> Path:
    """One of the programs in ``programs/``."""
    target = build_directory() / name
    run_compiler("-O1", "-w", "-o", str(target), str(HERE / "programs" / f"{name}.c"))
    return target


def compile_and_run(name: str, text: str, *, must: bool = True) -> str | None:
    """The output of a small C program; None when it does not compile and need not."""
    source = build_directory() / f"{name}.c"
    source.write_text(text, encoding="utf-8")
    target = build_directory() / name
    try:
        run_compiler("-w", "-o", str(target), str(source))
    except AssertionError:
        if must:
            raise
        return None
    done = subprocess.run([target], capture_output=True, text=True, timeout=20, check=True)
    return done.stdout
