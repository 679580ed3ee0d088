"""CPU-bound code, recorded and replayed against native: a C loop and an interpreter.

The ratio is told whole and without start-up, which a run of no rounds gives.  Goal: recording
takes at most 1.02 times the native time.

All variants run on one core (cores differ by more than is measured here), and Python's strings are
hashed with one seed, so that all do the same work.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from bench import common


def main() -> None:
    parser = common.parser(__doc__ or "", rounds=5)
    parser.add_argument("--seconds", type=float, default=10, help="of a native run, roughly")
    args = parser.parse_args()
    os.environ["PYTHONHASHSEED"] = "0"
    common.title("CPU-bound code")
    with common.compiled("spin") as programs:
        commands: dict[str, list[str | Path]] = {
            "C loop": [programs / "spin", str(round(700 * args.seconds))],
            "Python": [
                sys.executable,
                common.PROGRAMS / "spin.py",
                str(round(3100 * args.seconds)),
            ],
        }

        def rows() -> Iterator[list[str]]:
            for name, command in commands.items():
                start = common.measure([*command[:-1], "0"], rounds=args.rounds, pin=True)
                figures = common.measure(command, rounds=args.rounds, pin=True)

                def alone(variant: str, whole: common.Figures, nothing: common.Figures) -> float:
                    return whole.seconds(variant) - nothing.seconds(variant)

                native = alone("native", figures, start)
                yield [
                    name,
                    f"{figures.seconds('native'):.3f}",
                    f"{figures.seconds('record'):.3f}",
                    f"{figures.ratio('record'):.3f}",
                    figures.spread("record"),
                    f"{alone('record', figures, start) / native:.3f}",
                    f"{figures.seconds('replay'):.3f}",
                    f"{figures.ratio('replay'):.3f}",
                    f"{alone('replay', figures, start) / native:.3f}",
                ]

        head = ["", "native s", "record s", "ratio", "spread", "without start-up"]
        common.table([*head, "replay s", "ratio", "without start-up"], rows())


if __name__ == "__main__":
    main()
