"""Sites on thousands of instructions of real libraries, the program none the wiser."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest

from tests.conditions.strategies import LONG
from tests.patching.conftest import Build
from tests.patching.torture import Tally, Torture, chunks

_HERE = Path(__file__).parent
_PYTHON = os.path.realpath(sys.executable)


def _run(
    torture: Torture,
    together: tuple[tuple[int, int], ...],
    seed: int,
    *,
    drifts: bool = False,
    slack: float = 0.0,
) -> None:
    """together: (how many sites in all, how many of them at once).  drifts, slack: see Torture."""
    counts = torture.learn()
    torture.drifts, torture.slack = drifts, slack
    wanted = torture.instructions(counts)
    rng = random.Random(seed)
    for number, at_once in together:
        # Two of three are executed.
        executed = [w for w in wanted if counts[w[0]]]
        chosen = set(rng.sample(executed, min(len(executed), 2 * number // 3)))
        chosen |= set(rng.sample(wanted, min(len(wanted), number // 3)))
        tally = Tally()
        for chunk in chunks(sorted(chosen), at_once):
            torture.try_sites(chunk, counts, rng, tally)
        print(f"{torture.library.name}, {at_once} at once: {tally}")
        assert tally.tried >= min(number // 3, len(wanted) // 3) > 0
        assert tally.armed >= 0.995 * tally.tried
        assert tally.executed_armed > 0
    torture.finish()


@pytest.mark.limit(3000 if LONG else 150)
def test_libc(built: Build) -> None:
    program = built("libc_work.c")
    argv = [program] if LONG else [program, "small"]
    with Torture(argv, "libc.so.6", warm_up=30) as torture:
        _run(torture, ((12_000, 1), (12_000, 6_000)) if LONG else ((300, 1), (1_500, 750)), 1)


@pytest.mark.slow
@pytest.mark.skipif(not LONG, reason="minutes of single-stepping: RELIVE_LONG=1")
@pytest.mark.limit(3000)
def test_sqlite(built: Build) -> None:
    program = built("sqlite_work.c", "-lsqlite3")
    with Torture([program], "libsqlite3", warm_up=30) as torture:
        # The number of the schema grows with each round.
        _run(torture, ((12_000, 1), (60_000, 20_000)), 2, drifts=True)


@pytest.mark.slow
@pytest.mark.skipif(not LONG, reason="minutes of single-stepping: RELIVE_LONG=1")
@pytest.mark.limit(3000)
def test_python(built: Build) -> None:
    argv = [_PYTHON, str(_HERE / "programs" / "python_work.py")]
    with Torture(argv, "python3", warm_up=40) as torture:
        # Counters of the adaptive interpreter run over many rounds.
        _run(torture, ((12_000, 1), (60_000, 20_000)), 3, drifts=True, slack=0.25)
