"""Start-up: /bin/true native, recorded, replayed; and what of that is Python's own start.

Goal: at most 60 ms to record, Python's own start included.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from bench import common


def main() -> None:
    args = common.parser(__doc__ or "", rounds=25).parse_args()
    common.title("Start-up of /bin/true")
    figures = common.measure(["/bin/true"], rounds=args.rounds)
    python = [
        common.run([sys.executable, "-c", "pass"], cwd=Path("/"), pin=False).seconds
        for _ in range(args.rounds)
    ]
    rows = [
        [variant, f"{figures.seconds(variant) * 1000:.1f}", f"{figures.ratio(variant):.1f}"]
        for variant in ("native", "record", "replay")
    ]
    alone = statistics.median(python)
    rows.append(
        ["python -c pass", f"{alone * 1000:.1f}", f"{alone / figures.seconds('native'):.1f}"]
    )
    common.table(["", "ms", "times native"], rows)


if __name__ == "__main__":
    main()
