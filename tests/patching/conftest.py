"""Small programs, compiled once."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

_PROGRAMS = Path(__file__).parent / "programs"
Build = Callable[..., str]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """built("loop.c", "-static"): the path of the program, compiled if it was not yet."""
    directory = tmp_path_factory.mktemp("patching")
    done: dict[tuple[str, ...], str] = {}

    def build(source: str, *flags: str) -> str:
        key = (source, *flags)
        if key not in done:
            out = str(directory / f"{source}-{len(done)}")
            compiler = "c++" if source.endswith(".cc") else "cc"
            subprocess.run(
                [compiler, "-O2", "-g", "-Wall", "-o", out, _PROGRAMS / source, *flags],
                check=True,
                timeout=120,
            )
            done[key] = out
        return done[key]

    return build
