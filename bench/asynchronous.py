"""What asynchronous events cost: four CPU-bound threads, and signals in a loop.

Threads: recorded and replayed against the same program pinned to one core.  Goals: record at most
1.05 times native, replay at most 2 times record.  Signals: the difference between a recorded and a
native run, divided by the landmarks logged.  Goal: at most 1 ms each.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import common
from bench.replay20_async import record, replay


def main() -> None:
    parser = common.parser(__doc__ or "", rounds=3)
    parser.add_argument("--seconds", type=float, default=5, help="of a native run, roughly")
    args = parser.parse_args()
    common.title("Asynchronous events")
    with common.compiled("four_threads", "tight_loop") as programs:
        count = str(round(args.seconds * 140_000_000))

        def threads() -> Iterator[list[str]]:
            figures = common.measure([programs / "four_threads", count], rounds=args.rounds)
            yield [
                f"{figures.seconds('native'):.3f}",
                f"{figures.seconds('record'):.3f}",
                f"{figures.ratio('record'):.3f} ({figures.spread('record')})",
                f"{figures.seconds('replay'):.3f}",
                f"{figures.ratio('replay', 'record'):.2f}",
                str(figures.bad_replays),
            ]

        head = ["4 threads: native s", "record s", "of native", "replay s", "of record", "wrong"]
        common.table(head, threads())
        print()

        def signals() -> Iterator[list[str]]:
            program = programs / "tight_loop"
            iterations = round(args.seconds * 500_000_000)
            with tempfile.TemporaryDirectory(prefix="relive-asynchronous-") as text:
                for period in (10_000, 1000):
                    command = [str(program), str(iterations), str(period)]
                    pairs = []
                    for n in range(args.rounds):
                        recording = Path(text) / f"{period}-{n}"
                        native = common.run(command, cwd=Path(text), pin=True).seconds
                        pairs.append((record(command, (), recording).seconds, native))
                    run = replay(recording)
                    took, native = sorted(pairs)[len(pairs) // 2]
                    yield [
                        f"{period} us",
                        f"{native:.3f}",
                        f"{took:.3f}",
                        str(run.stops),
                        f"{(took - native) / max(run.stops, 1) * 1e3:.3f}",
                        f"{run.seconds:.3f}",
                        f"{run.seconds / took:.2f}",
                    ]

        head = ["SIGALRM every", "native s", "record s", "landmarks", "ms each (start-up included)"]
        common.table([*head, "replay s", "of record"], signals())


if __name__ == "__main__":
    main()
