"""When tasks are preempted: never alone, at once when they wait in a loop."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from relive.trace.kinds import Kind
from relive.trace.reader import Recording
from tests.workloads import harness

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"
HANDOVER = ROOT / "bench" / "programs" / "handover.c"
#: At 50 ms each, the default slice, they would take a quarter of an hour.
HANDOVERS = 4000


def compiled(source: Path, directory: Path, *flags: str) -> Path:
    binary = directory / source.stem
    subprocess.run(["gcc", "-O1", "-g", "-pthread", *flags, "-o", binary, source], check=True)
    return binary


def recorded(
    command: Sequence[str | Path], directory: Path, *options: str
) -> tuple[harness.Outcome, Path]:
    """Records and replays; the recorded run and the recording."""
    recording = directory / "recording"
    record = [*harness.RELIVE, "record", "-q", *options, "-o", recording, "--", *command]
    run = harness.run(record, cwd=directory, timeout=100)
    again = harness.run([*harness.RELIVE, "replay", "-a", recording], cwd=directory, timeout=100)
    assert (again.status, again.stdout) == (run.status, run.stdout), again.stderr.decode()
    return run, recording


def landmarks(recording: Path) -> int:
    with Recording(recording) as opened:
        return sum(event.kind is Kind.LANDMARK for event in opened.events())


@pytest.mark.limit(60)
def test_a_task_that_is_alone_is_not_preempted(tmp_path: Path) -> None:
    source = "x = 0\nfor i in range(3_000_000): x += i\nprint(x)"
    run, recording = recorded([sys.executable, "-c", source], tmp_path, "-c", "0.2")
    assert run.status == 0
    assert landmarks(recording) == 0


@pytest.mark.limit(200)
def test_who_spins_gives_way_at_once(tmp_path: Path) -> None:
    run, recording = recorded([compiled(HANDOVER, tmp_path), str(HANDOVERS)], tmp_path)
    assert run.stdout == b"%d\n" % HANDOVERS
    assert landmarks(recording) >= HANDOVERS / 2


# A pool as numerical libraries have it: the worker looks for work until a time is over, by the
# time-stamp counter; the master waits in more loops than there are debug registers.
POOL = r"""
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <x86intrin.h>
static volatile int work, ended;
static volatile uint64_t sum;
static void *worker(void *arg)
{
    (void)arg;
    for (;;) {
        uint64_t began = __rdtsc();
        while (!work)
            if (__rdtsc() - began > 1ull << 40)
                exit(1);
        if (work < 0)
            return NULL;
        for (int i = 0; i < 1000; i++)
            sum += i;
        work = 0;
    }
}
#define WAIT while (work) ;
int main(int argc, char **argv)
{
    struct sigaction now;
    pthread_t other;
    sigaction(SIGTRAP, NULL, &now); /* asks only, as Python does */
    pthread_create(&other, NULL, worker, NULL);
    for (int i = 0; i < atoi(argv[1]); i++) {
        work = 1;
        switch (i % 6) {
        case 0: WAIT break;
        case 1: WAIT break;
        case 2: WAIT break;
        case 3: WAIT break;
        case 4: WAIT break;
        default: WAIT
        }
    }
    work = -1;
    pthread_join(other, NULL);
    printf("%llu\n", (unsigned long long)sum);
    return argc != 2;
}
"""
ROUNDS = 600


@pytest.mark.limit(120)
def test_a_pool_that_waits_by_the_clock(tmp_path: Path) -> None:
    source = tmp_path / "pool.c"
    source.write_text(POOL)
    run, recording = recorded([compiled(source, tmp_path), str(ROUNDS)], tmp_path)
    assert run.stdout == b"%d\n" % (ROUNDS * 499500)
    with Recording(recording) as opened:
        readings = sum(event.kind is Kind.TRAP for event in opened.events())
    # a worker that is not switched away from reads the counter some 2000 times a slice
    assert readings < 30 * ROUNDS


# A spin stop must not become a SIGTRAP of the program's, nor touch what it does with its own.
TRAPS = r"""
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
static volatile unsigned long turn;
static volatile sig_atomic_t traps;
static void on_trap(int signo) { (void)signo; traps++; }
static void *player(void *arg)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTRAP);
    if (arg && BLOCKED)
        pthread_sigmask(SIG_BLOCK, &set, NULL);
    for (int i = 0; i < 200; i++) {
        while (turn % 2 != (unsigned long)arg)
            ;
        if (!arg && i == 100)
            signal(SIGTRAP, HANDLER);
        turn++;
    }
    if (arg && BLOCKED)
        pthread_sigmask(SIG_BLOCK, NULL, &set);
    if (arg && BLOCKED && !sigismember(&set, SIGTRAP))
        puts("not blocked any more");
    return NULL;
}
int main(void)
{
    struct sigaction now;
    pthread_t other;
    pthread_create(&other, NULL, player, (void *)1);
    player(NULL);
    pthread_join(other, NULL);
    sigaction(SIGTRAP, NULL, &now);
    printf("%d %d\n", now.sa_handler == HANDLER, (int)traps);
    raise(SIGTRAP);
    printf("%d\n", (int)traps);
    return 0;
}
"""


@pytest.mark.limit(120)
@pytest.mark.parametrize(("handler", "blocked"), [("on_trap", 0), ("on_trap", 1), ("SIG_IGN", 0)])
def test_the_programs_own_traps_stay_its_own(tmp_path: Path, handler: str, blocked: int) -> None:
    source = tmp_path / "traps.c"
    source.write_text(TRAPS)
    binary = compiled(source, tmp_path, f"-DHANDLER={handler}", f"-DBLOCKED={blocked}")
    run, _ = recorded([binary], tmp_path, "-c", "1")
    assert run.status == 0
    assert run.stdout == (b"1 0\n1\n" if handler == "on_trap" else b"1 0\n0\n")


@pytest.mark.limit(120)
def test_goroutines(tmp_path: Path) -> None:
    if shutil.which("go") is None:
        pytest.skip("go is missing")
    binary = tmp_path / "goroutines"
    subprocess.run(["go", "build", "-o", binary, PROGRAMS / "goroutines.go"], check=True)
    run, recording = recorded([binary, "20"], tmp_path, "-c", "1", "--verify-memory=events")
    assert run.status == 0
    assert landmarks(recording) > 0


@pytest.mark.limit(120)
def test_redis_benchmark(tmp_path: Path) -> None:
    for tool in ("redis-server", "redis-benchmark"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing")
    script = PROGRAMS / "redis_benchmark.sh"
    run, _ = recorded(["bash", script, "5"], tmp_path, "-c", "0.5", "--verify-memory=exit")
    assert run.status == 0
    assert run.stdout.startswith(b"rdb_last_bgsave_status:ok")


@pytest.mark.limit(120)
@pytest.mark.parametrize(("tool", "script"), [("node", "jit.js"), ("luajit", "interpreted.lua")])
def test_code_made_at_run_time(tmp_path: Path, tool: str, script: str) -> None:
    """Beside itself, so that time slices end in it."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is missing")
    one = f"{tool} {PROGRAMS / script} 5"
    run, _ = recorded(
        ["sh", "-c", f"{one} & {one}; wait"], tmp_path, "-c", "0.5", "--verify-memory=events"
    )
    assert run.status == 0


@pytest.mark.limit(100)
def test_memory_that_is_filled(tmp_path: Path) -> None:
    """LuaJIT's traces hold what they do in memory that they fill: few candidates tell that."""
    if shutil.which("luajit") is None:
        pytest.skip("luajit is missing")
    one = f"luajit {PROGRAMS / 'interpreted.lua'} 2000"
    _, recording = recorded(["sh", "-c", f"{one} & {one}; wait"], tmp_path, "-c", "0.3")
    (recording / "index").unlink()
    stats = tmp_path / "stats"
    command: list[str | Path] = [*harness.RELIVE, "replay", "-a", "--stats-json", stats, recording]
    again = harness.run(command, cwd=tmp_path, timeout=60)
    assert again.status == 0, again.stderr.decode()
    landings = json.loads(stats.read_text())["asynchronous"]["landings"]
    assert len(landings) >= 5
    assert max(one["candidates"] for one in landings) < 200


@pytest.mark.limit(100)
def test_what_ran_before_a_call_that_is_put_back_comes_first(tmp_path: Path) -> None:
    """A slice ends while a thread is given memory for its first call."""
    run, _ = recorded([compiled(PROGRAMS / "first_calls.c", tmp_path), "25"], tmp_path, "-c", "0.1")
    assert run.status == 0
