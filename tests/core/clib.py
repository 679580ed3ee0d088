"""Compile files of the C core into a shared library for ctypes, once per session.

With sanitizers: set ``RELIVE_TEST_CFLAGS=-fsanitize=address,undefined``,
``LD_PRELOAD`` to gcc's libasan.so and ``ASAN_OPTIONS=detect_leaks=0``.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

CORE = Path(__file__).resolve().parents[2] / "src" / "core"
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wconversion"]

_made: dict[str, ctypes.CDLL] = {}
_directory: Path | None = None


def build_directory() -> Path:
    """A directory for what the tests compile, removed when the session ends."""
    global _directory
    if _directory is None:
        _directory = Path(tempfile.mkdtemp(prefix="relive-core-"))
        atexit.register(shutil.rmtree, _directory, ignore_errors=True)
    return _directory


def run_compiler(arguments: list[str]) -> None:
    """Run the C compiler with the project's dialect and warnings; its failure is shown."""
    command = ["gcc", "-std=gnu17", "-O2", "-g", *WARNINGS, f"-I{CORE}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}\n{done.stderr}")


def compile_shared(name: str, sources: list[str], *, extra: tuple[str, ...] = ()) -> ctypes.CDLL:
    """Compile ``sources`` (names in src/core, or absolute paths) and load the result."""
    if name not in _made:
        target = build_directory() / f"lib{name}.so"
        paths = [str(CORE / source) for source in sources]  # an absolute path stays as it is
        flags = os.environ.get("RELIVE_TEST_CFLAGS", "").split()
        run_compiler(["-shared", "-fPIC", "-o", str(target), *flags, *extra, *paths])
        _made[name] = ctypes.CDLL(str(target), use_errno=True)
    return _made[name]
