"""Peak memory of the recorder against the number of events: it should not grow with them.

Goal: bounded, below 200 MB at 10 million events (--events 10000000).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import common


def main() -> None:
    parser = common.parser(__doc__ or "", rounds=1)
    parser.add_argument("--events", type=int, default=1_000_000, help="the most events")
    args = parser.parse_args()
    common.title("Peak memory of the recorder")
    with common.compiled("reads") as programs, tempfile.TemporaryDirectory() as place:

        def rows() -> Iterator[list[str]]:
            for count in (args.events // 100, args.events // 10, args.events):
                recording = Path(place) / f"recording-{count}"
                program: common.Command = [programs / "reads", str(count)]
                recorded = common.run(
                    [*common.RELIVE, "record", "-q", "-o", recording, "--", *program],
                    cwd=Path(place),
                    pin=False,
                )
                replayed = common.run(
                    [*common.RELIVE, "replay", "-a", recording], cwd=Path(place), pin=False
                )
                log, _, events = common.facts(recording)
                yield [
                    f"{events}",
                    f"{recorded.peak / 1024:.1f}",
                    f"{replayed.peak / 1024:.1f}",
                    f"{log / 1e6:.1f}",
                    f"{recorded.seconds:.1f}",
                ]

        common.table(["events", "recorder MiB", "replayer MiB", "log MB", "record s"], rows())


if __name__ == "__main__":
    main()
