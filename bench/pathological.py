"""A tight loop under a thousand asynchronous events, recorded once, replayed by each evaluator.

A loop of three instructions (add, compare, jump) takes SIGALRM at a short period: each signal's
place has to be found among a million executions of the same address.  The in-process evaluator
replays the whole recording, twice: the second replay knows the positions and counts.  The others
would take hours: each decides a number of hits of the same recording's first landmarks, and what
the whole would take is told by that: an estimate.  A uprobe needs an instruction that the kernel
emulates, so it is measured on the same loop with nops in it.

Seconds are of the clock; processor time (of everything, which shares one core) is told beside
them, for it says more on a busy machine.  Goals: the in-process evaluator takes at least 99.9 % off
the supervisor's overhead; its whole replay takes at most 3 times the native run.
"""

from __future__ import annotations

import json
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from bench import common
from relive.replay import search
from relive.replay.retry import Plan
from relive.replay.search.kernel import Breakpoint, Kernel, Uprobe
from relive.replay.search.landmark import Landmark
from relive.replay.search.supervisor import Supervisor
from relive.replay.session import Session
from relive.replay.tasks import Task
from relive.trace.reader import Recording


class Took(NamedTuple):
    """seconds: of the clock; cpu: of processors, children included."""

    seconds: float
    cpu: float


class Run(NamedTuple):
    """A whole replay: what it took; seconds of searching; stops found, hits."""

    took: Took
    searching: float
    stops: int
    hits: int


class Measured(Exception):
    """Nanoseconds a rejected hit: the replay need not go on."""

    def __init__(self, ns: float) -> None:
        super().__init__(ns)
        self.ns = ns


def run(*command: str | Path) -> Took:
    """Runs a command to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(
        [str(word) for word in command],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=common.LIMIT,
    )
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(seconds, cpu)


def replay(recording: Path) -> Run:
    """Replays as a user would; what it found is told by --stats-json."""
    stats = recording / "stats"
    took = run(*common.RELIVE, "replay", "-a", "-q", "--stats-json", stats, recording)
    told = json.loads(stats.read_text())["asynchronous"]
    return Run(took, told["seconds"], told["landmarks"], told["hits"])


def supervised(session: Session, mark: Landmark, hits: int) -> None:
    armed = Supervisor(mark)
    start = time.perf_counter()
    _, _, seen = session.core.search(mark.task.serial, b"", True, hits)
    seconds = time.perf_counter() - start
    armed.disarm()
    raise Measured(seconds / seen * 1e9)


def in_kernel(session: Session, mark: Landmark, hits: int) -> None:
    timed(Breakpoint(mark, session.searching.programs), hits)


def by_uprobe(session: Session, mark: Landmark, hits: int) -> None:
    timed(Uprobe(mark, session.searching.uprobes), hits)


def timed(armed: Kernel, hits: int) -> None:
    armed.stop_at(hits)
    start = time.perf_counter()
    armed.next()
    seconds = time.perf_counter() - start
    seen = armed.hits()
    armed.disarm()
    raise Measured(seconds / seen * 1e9)


def each_hit(
    recording: Path, decide: Callable[[Session, Landmark, int], None], hits: int
) -> float | str:
    """Nanoseconds that an evaluator takes for a hit it rejects; or why it can't be told."""
    why = "no landmark that it could serve"

    class Timing(Plan):
        def find(self, session: Session, number: int, task: Task) -> None:
            nonlocal why
            try:
                decide(session, Landmark(session, task), hits)
            except search.CannotSearch as e:
                why = str(e)
            search.find(session, task)

    with Recording(recording) as opened:
        session = Session(opened, echo=False, plan=Timing(), use_index=False)
        try:
            session.run()
        except Measured as e:
            return e.ns
    return why


def main() -> None:
    parser = common.parser(__doc__ or "", rounds=3)
    parser.add_argument("--iterations", type=int, default=3_000_000_000)
    parser.add_argument("--period", type=int, default=1000, help="of the timer, us (1000)")
    parser.add_argument("--hits", type=int, default=100_000, help="that the slow ones decide")
    args = parser.parse_args()
    common.title("Pathological recording: a tight loop under a timer")

    def rows() -> Iterator[list[str]]:
        with (
            common.compiled("tight_loop") as programs,
            tempfile.TemporaryDirectory(prefix="relive-pathological-") as text,
        ):
            command: list[str | Path] = [
                programs / "tight_loop",
                str(args.iterations),
                str(args.period),
            ]
            pinned: list[str | Path] = ["taskset", "-c", str(common.one_core()), *command]
            native = sorted(run(*pinned) for _ in range(args.rounds))[args.rounds // 2]
            yield ["native", *seconds(native, native), "", "", "", ""]
            long = Path(text) / "long"
            record: list[str | Path] = [*common.RELIVE, "record", "-q", "-o"]
            recorded = run(*record, long, "--", *command)
            yield ["record", *seconds(recorded, native), "", "", "", ""]
            runs: dict[str, list[Run]] = {"replay, in-process": [], "replay again, counting": []}
            for _ in range(args.rounds):
                (long / "index").unlink(missing_ok=True)
                for name in runs:
                    runs[name].append(replay(long))
            middle = {name: sorted(each)[args.rounds // 2] for name, each in runs.items()}
            first = middle["replay, in-process"]
            slow = each_hit(long, supervised, args.hits)
            assert isinstance(slow, float), slow
            overhead = first.hits * slow / 1e9

            def reduction(by: float) -> str:
                return f"{100 * (1 - by / overhead):.3f} %"

            for name, one in middle.items():
                yield [
                    name,
                    *seconds(one.took, native),
                    str(one.stops),
                    f"{one.hits:,}",
                    f"{one.searching / one.hits * 1e9:.2f}",
                    reduction(one.took.seconds - native.seconds),
                ]
            nop = Path(text) / "nop"
            run(*record, nop, "--", *command[:1], str(args.iterations // 20), *command[2:], "nop")
            for name, which, decide in (
                ("uprobe + BPF (loop with nops)", nop, by_uprobe),
                ("hardware breakpoint + BPF", long, in_kernel),
                ("supervisor", long, supervised),
            ):
                ns = slow if decide is supervised else each_hit(which, decide, args.hits)
                if isinstance(ns, str):
                    yield [name, "", "", "", "", "", "", ns]
                    continue
                would = first.hits * ns / 1e9
                yield [
                    f"replay, {name}",
                    f"{native.seconds + would:,.0f} (estimate)",
                    f"{1 + would / native.seconds:,.0f}",
                    "",
                    str(first.stops),
                    f"{first.hits:,}",
                    f"{ns:,.0f}",
                    reduction(would),
                ]

    head = [
        *("", "s", "of native", "processor s (of native)", "stops", "hits", "ns a hit"),
        "off the supervisor's overhead",
    ]
    common.table(head, rows())


def seconds(took: Took, native: Took) -> list[str]:
    """Of the clock, of native, and of processors."""
    return [
        f"{took.seconds:.2f}",
        f"{took.seconds / native.seconds:.2f}",
        f"{took.cpu:.2f} ({took.cpu / native.cpu:.2f})",
    ]


if __name__ == "__main__":
    main()
