"""A tight loop under thousands of asynchronous events, replayed under each evaluator.

A loop of three instructions (add, compare, jump) takes SIGALRM at a short period: each signal's
place has to be found among some hundred thousand executions of the same address.  The supervisor
decides each from outside, two stops a hit; it replays a much shorter recording of the same loop,
and what it would take is told by its time a hit.  Goals: the in-process evaluator takes at least
99.9 % off the supervisor's overhead; its whole replay takes at most 3 times the native run.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench import common
from relive.replay.session import Session
from relive.trace.reader import Recording


class Run(NamedTuple):
    """One replay: seconds in all, of searching; stops found, hits."""

    seconds: float
    searching: float
    stops: int
    hits: int


def record(program: Path, recording: Path, iterations: int, period: int) -> float:
    """Seconds of a recorded run."""
    start = time.perf_counter()
    subprocess.run(
        [
            *common.RELIVE,
            *("record", "-q", "-o", recording, "--"),
            *(program, str(iterations), str(period)),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=common.LIMIT,
    )
    return time.perf_counter() - start


def replay(recording: Path, evaluator: str) -> Run:
    """Replays in this process."""
    start = time.perf_counter()
    with Recording(recording) as opened:
        session = Session(opened, echo=False, evaluator=evaluator)
        session.run()
    seconds = time.perf_counter() - start
    found = session.statistics
    return Run(seconds, found.seconds, found.landmarks, found.hits)


def main() -> None:
    parser = common.parser(__doc__ or "", rounds=3)
    parser.add_argument("--iterations", type=int, default=3_000_000_000)
    parser.add_argument("--period", type=int, default=1000, help="of the timer, us (1000)")
    parser.add_argument("--hits", type=int, default=100_000, help="bound for the supervisor")
    args = parser.parse_args()
    common.title("Pathological recording: a tight loop under a timer")

    def rows() -> Iterator[list[str]]:
        with (
            common.compiled("tight_loop") as programs,
            tempfile.TemporaryDirectory(prefix="relive-pathological-") as text,
        ):
            program = programs / "tight_loop"
            command = [program, str(args.iterations), str(args.period)]
            native = sorted(
                common.run(command, cwd=Path(text), pin=True).seconds for _ in range(args.rounds)
            )[args.rounds // 2]
            yield ["native", f"{native:.2f}", "1.00", "", "", "", ""]
            long = Path(text) / "long"
            recorded = record(program, long, args.iterations, args.period)
            yield ["record", f"{recorded:.2f}", f"{recorded / native:.2f}", "", "", "", ""]
            short = Path(text) / "short"
            record(program, short, max(args.hits * 20, 2_000_000), args.period)
            slow = replay(short, "supervisor")
            each = slow.searching / max(slow.hits, 1)
            runs = sorted(replay(long, "auto") for _ in range(args.rounds))
            quick = runs[args.rounds // 2]
            would = native + quick.hits * each
            yield [
                "replay, supervisor (estimated)",
                f"{would:.0f}",
                f"{would / native:.0f}",
                str(quick.stops),
                f"{quick.hits:,}",
                f"{each * 1e9:.0f}",
                f"measured: {slow.stops} stops, {slow.hits:,} hits, {slow.searching:.1f} s",
            ]
            reduction = 1 - (quick.seconds - native) / (would - native)
            yield [
                "replay, in-process",
                f"{quick.seconds:.2f}",
                f"{quick.seconds / native:.2f}",
                str(quick.stops),
                f"{quick.hits:,}",
                f"{quick.searching / max(quick.hits, 1) * 1e9:.2f}",
                f"{100 * reduction:.3f} % of the supervisor's overhead taken off",
            ]

    head = ["", "s", "of native", "stops", "hits", "ns a hit (whole search)", ""]
    common.table(head, rows())


if __name__ == "__main__":
    main()
