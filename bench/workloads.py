"""The everyday programs of tests/workloads: time to record and replay, sizes, divergences.

A divergence is a replay whose output, exit status or memory at exit is not the recorded one; the
times are of runs without comparing memory, the divergences are counted in runs with it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import common

# The workloads are described for the tests; this is the same house.
from tests.workloads import harness
from tests.workloads.catalogue import WORKLOADS, Missing, Workload, lay_out

HEAD = (
    "workload",
    "events",
    "native s",
    "record s",
    "ratio",
    "replay s",
    "ratio",
    "log kB",
    "bytes an event",
    "replays",
    "divergences",
)


def divergences(workload: Workload, replays: int) -> tuple[int, list[str]]:
    """Record once with memory verified at exit, replay; how many differed, and the first why."""
    bad, reasons = 0, []
    with tempfile.TemporaryDirectory(prefix="relive-bench-") as text:
        place = Path(text)
        command = lay_out(workload, place / "work")
        recording = place / "recording"
        recorded = harness.record(command, recording, cwd=place / "work", timeout=common.LIMIT)
        if recorded.status != workload.status:
            return replays, [f"recorded: {recorded.stderr[-500:].decode(errors='replace')}"]
        for _ in range(replays):
            try:
                harness.same(recorded, harness.replay(recording, timeout=common.LIMIT))
            except AssertionError as error:
                bad += 1
                reasons.append(str(error))
    return bad, reasons[:1]


def row(workload: Workload, rounds: int, replays: int) -> Sequence[str]:
    """A line of the table; a workload that can't run here says why."""

    def prepare(directory: Path) -> None:
        directory.rmdir()
        lay_out(workload, directory)

    try:
        with tempfile.TemporaryDirectory() as place:
            command = lay_out(workload, Path(place) / "work")
    except Missing as error:
        return [workload.name, str(error), *[""] * (len(HEAD) - 2)]
    figures = common.measure(command, rounds=rounds, prepare=prepare)
    bad, reasons = divergences(workload, replays)
    for reason in reasons:
        print(f"<!-- {workload.name}: {reason} -->")
    return [
        workload.name,
        str(figures.events),
        f"{figures.seconds('native'):.3f}",
        f"{figures.seconds('record'):.3f}",
        f"{figures.ratio('record'):.1f}",
        f"{figures.seconds('replay'):.3f}",
        f"{figures.ratio('replay'):.1f}",
        f"{figures.log_bytes / 1000:.0f}",
        f"{figures.log_bytes / max(1, figures.events):.1f}",
        str(replays),
        str(bad + figures.bad_replays),
    ]


def main(*, rounds: int = 3, replays: int = 2) -> None:
    parser = common.parser(__doc__ or "", rounds=rounds)
    parser.add_argument("--replays", type=int, default=replays, help=f"default {replays}")
    parser.add_argument("names", nargs="*", help="only these workloads")
    args = parser.parse_args()
    chosen = [w for w in WORKLOADS if not args.names or w.name in args.names]
    common.title("Everyday programs")

    def rows() -> Iterator[Sequence[str]]:
        for workload in chosen:
            yield row(workload, args.rounds, args.replays)

    common.table(HEAD, rows())


if __name__ == "__main__":
    os.chdir(common.ROOT)
    main()
