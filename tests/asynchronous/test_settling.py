"""Where landmarks are taken: at places where a replay can stop cheaply, if there are any."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from relive.arch import x86_64
from relive.trace.kinds import Kind
from relive.trace.reader import Recording
from tests.workloads import harness

SOURCE = Path(__file__).parent / "settling" / "loops.c"
RIP = x86_64.BY_NAME["rip"].index
AT_ENTRY = 0x40


class Loops:
    """The program, and where its loops are: address and end, by name."""

    def __init__(self, binary: Path) -> None:
        self.binary = binary
        with binary.open("rb") as file:
            table = ELFFile(file).get_section_by_name(".symtab")
            assert isinstance(table, SymbolTableSection)
            self.symbols = {s.name: s["st_value"] for s in table.iter_symbols()}

    def offsets(self, mode: str) -> range:
        """Of a loop's code in its page."""
        start, end = self.symbols[f"{mode}_loop"], self.symbols[f"{mode}_loop_end"]
        assert start // 4096 == (end - 1) // 4096, "the loop lies in one page"
        return range(start % 4096, end - start + start % 4096)


@pytest.fixture(scope="module")
def loops(tmp_path_factory: pytest.TempPathFactory) -> Loops:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is missing")
    binary = tmp_path_factory.mktemp("settling") / "loops"
    flags = ["-O1", "-g", "-Wall", "-Wextra", "-pthread"]
    subprocess.run(["gcc", *flags, "-o", binary, SOURCE], check=True, timeout=60)
    return Loops(binary)


class Run:
    """One recording.

    places: offsets in their page of the landmarks in the loop.  before_calls: landmarks that
    a call came before.  stats: what the recorder counted.
    """

    def __init__(self, loops: Loops, directory: Path, mode: str, rounds: int, *more: str) -> None:
        self.recording = directory / "recording"
        command: list[str | Path] = [loops.binary, mode, str(rounds), *more]
        record = [*harness.RELIVE, "record", "-q", "--verify-memory=events", "-c", "1"]
        self.outcome = harness.run(
            [*record, "-o", self.recording, "--", *command], cwd=directory, timeout=60
        )
        assert self.outcome.status == 0, self.outcome.stderr.decode()
        loop = loops.offsets(mode)
        self.places: list[int] = []
        self.before_calls = 0
        with Recording(self.recording) as opened:
            for event in opened.events():
                if event.kind is Kind.END:
                    assert isinstance(event.extra, dict)
                    self.stats = event.extra
                if event.kind is not Kind.LANDMARK or event.regs is None:
                    continue
                if event.flags & AT_ENTRY:
                    self.before_calls += 1
                elif event.regs[RIP] % 4096 in loop:
                    self.places.append(event.regs[RIP] % 4096)

    def replay(self) -> dict[str, object]:
        """Replayed rightly; what its asynchronous events took."""
        stats = self.recording.parent / "stats"
        again = harness.run(
            [*harness.RELIVE, "replay", "-a", "--stats-json", stats, self.recording],
            cwd=self.recording.parent,
            timeout=60,
        )
        assert again.stdout == self.outcome.stdout, again.stderr.decode()
        assert again.status == 0, again.stderr.decode()
        found: dict[str, object] = json.loads(stats.read_text())["asynchronous"]
        return found


@pytest.mark.limit(100)
@pytest.mark.parametrize("trap", ["", "block"])
def test_the_one_good_place(loops: Loops, tmp_path: Path, trap: str) -> None:
    run = Run(loops, tmp_path, "good", 30_000_000, *filter(None, [trap]))
    assert set(run.places) == {loops.symbols["good_place"] % 4096}
    assert len(run.places) > 20
    assert run.outcome.stdout.endswith(b"handled blocked 0\n" if trap else b"handled open 1\n")
    assert run.stats["steps"] > len(run.places)
    assert run.stats["steps"] < 16 * run.stats["settled"]
    found = run.replay()
    assert found["passed_over"] == {}


@pytest.mark.limit(100)
def test_no_good_place(loops: Loops, tmp_path: Path) -> None:
    """One round is stepped, then the best place is known: the branch, for a uprobe."""
    run = Run(loops, tmp_path, "none", 15_000)
    assert len(run.places) > 5
    assert run.stats["steps"] < 16 * run.stats["settled"]
    run.replay()


@pytest.mark.limit(100)
@pytest.mark.parametrize("trap", ["", "block"])
def test_nobody_sees_the_trap_flag(loops: Loops, tmp_path: Path, trap: str) -> None:
    run = Run(loops, tmp_path, "flags", 3_000_000, *filter(None, [trap]))
    assert len(run.places) > 20
    assert run.stats["steps"] > 20
    seen, traps = run.outcome.stdout.splitlines()
    assert seen.split()[1] == b"0"
    assert traps == (b"handled blocked 0" if trap else b"handled open 1")


@pytest.mark.limit(100)
def test_flags_are_found_again(loops: Loops, tmp_path: Path) -> None:
    Run(loops, tmp_path, "flags", 100_000).replay()


@pytest.mark.limit(100)
def test_what_a_call_comes_before_is_no_landmark(loops: Loops, tmp_path: Path) -> None:
    run = Run(loops, tmp_path, "calls", 40_000)
    assert run.places == []
    assert run.stats["settled"] > 0
    run.replay()


@pytest.mark.limit(100)
def test_faults_come_first(loops: Loops, tmp_path: Path) -> None:
    run = Run(loops, tmp_path, "faults", 300)
    assert run.outcome.stdout.splitlines()[0] == b"600 600"
    run.replay()


@pytest.mark.limit(100)
def test_an_ignored_trap_stays_ignored(loops: Loops, tmp_path: Path) -> None:
    """No step is made: its trap would take the disposition away."""
    run = Run(loops, tmp_path, "good", 30_000_000, "ignore")
    assert len(run.places) > 20
    assert run.stats["steps"] == 0
    assert run.outcome.stdout.endswith(b"ignored open 0\n")


@pytest.mark.limit(100)
def test_copies_end_without_a_trap(loops: Loops, tmp_path: Path) -> None:
    """A repeated string instruction is left by a fault where a trap would show."""
    run = Run(loops, tmp_path, "none", 15_000, "ignore")
    assert len(run.places) > 5
    assert run.stats["settled"] > 0
    assert run.outcome.stdout.endswith(b"ignored open 0\n")
    run.replay()
