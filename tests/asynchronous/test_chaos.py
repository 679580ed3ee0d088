"""Chaos mode: the seed is kept, draws are reproducible, and a bug that plain recording hardly ever
meets is found within a few seeds and replays."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from relive.trace.reader import Recording
from tests.core.clib import CORE, compile_shared
from tests.workloads import harness

SOURCE = Path(__file__).parent / "programs" / "lock_free_aba.c"
#: Seeds tried: one in three or so shows it, fewer on a machine that is busy with other things.
SEEDS = 120
#: Seconds after which no further seed is tried.
SEARCH = 150

DRAWS = """
#include <stdlib.h>
#include "record.h"
bool task_runnable(const struct task *t) { return t->state == RUN_STOPPED; }
/* 64 draws, 30 ms apart: slices, priorities, whether to switch, whom to pick. */
void draws(uint64_t seed, uint64_t *out);
void draws(uint64_t seed, uint64_t *out)
{
    struct recorder *r = calloc(1, sizeof *r);
    struct task *tasks[4];
    r->tasks = tasks;
    r->n_tasks = 4;
    r->slice_ns = 50000000;
    for (uint32_t i = 0; i < 4; i++) {
        tasks[i] = calloc(1, sizeof **tasks);
        tasks[i]->serial = i + 1;
    }
    chaos_start(r, seed);
    for (uint64_t i = 0; i < 64; i++) {
        chaos_draw(r, i * 30000000);
        *out++ = r->drawn_slice_ns;
        *out++ = r->favoured | (uint64_t)r->shunned << 32;
        *out++ = chaos_switches(r);
        *out++ = chaos_pick(r)->serial;
    }
    for (int i = 0; i < 4; i++)
        free(tasks[i]);
    free(r);
}
"""


def drawn(lib: ctypes.CDLL, seed: int) -> list[int]:
    out = (ctypes.c_uint64 * 256)()
    lib.draws(ctypes.c_uint64(seed), out)
    return list(out)


def test_the_same_seed_draws_the_same(tmp_path: Path) -> None:
    source = tmp_path / "draws.c"
    source.write_text(DRAWS)
    lib = compile_shared("chaos", [str(source), str(CORE / "chaos.c")])
    first = drawn(lib, 1)
    assert first == drawn(lib, 1)
    assert first != drawn(lib, 2)
    assert {100_000 << n for n in range(9)} == set(first[0::4])  # all slices up to the usual one
    assert set(first[3::4]) == {1, 2, 3, 4}
    assert any(first[1::4])


@pytest.mark.limit(300)
def test_a_lock_free_stack_loses_a_node(tmp_path: Path) -> None:
    binary = tmp_path / "lock_free_aba"
    flags = ["-O1", "-g", "-Wall", "-Wextra", "-pthread"]
    subprocess.run(["gcc", *flags, "-o", binary, SOURCE], check=True, timeout=60)
    end = time.monotonic() + SEARCH
    for seed in range(1, SEEDS + 1):
        if time.monotonic() > end:
            pytest.fail(f"not found with {seed - 1} seeds in {SEARCH} s")
        recording = tmp_path / f"seed-{seed}"
        record = [*harness.RELIVE, "record", "-q", "--seed", str(seed), "-o", str(recording)]
        recorded = harness.run([*record, "--", str(binary), "25"], cwd=tmp_path)
        with Recording(recording) as opened:
            assert opened.meta["chaos"] == seed
        if recorded.status == 1:
            break
        assert recorded.status == 0, recorded.stderr.decode()
        shutil.rmtree(recording)
    else:
        pytest.fail(f"not found with {SEEDS} seeds")
    assert recorded.stdout == b"a node has two owners\n"
    for _ in range(3):
        replayed = harness.run([*harness.RELIVE, "replay", "-a", str(recording)], cwd=tmp_path)
        assert (replayed.status, replayed.stdout) == (1, recorded.stdout), replayed.stderr.decode()
