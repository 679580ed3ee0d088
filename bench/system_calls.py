"""Unbuffered system calls: 300 000 reads of one byte; microseconds a call, bytes a call.

What starting the program costs is measured too, and subtracted.  Goal: 20 µs a call to record and
12 to replay, on a machine where a seccomp stop costs 6.6 µs.
"""

from __future__ import annotations

from bench import common


def main() -> None:
    parser = common.parser(__doc__ or "", rounds=5)
    parser.add_argument("--calls", type=int, default=300_000)
    args = parser.parse_args()
    common.title(f"{args.calls} reads of one byte")
    with common.compiled("reads") as programs:
        none = common.measure([programs / "reads", "0"], rounds=args.rounds)
        all_ = common.measure([programs / "reads", str(args.calls)], rounds=args.rounds)

    def each(variant: str) -> float:
        calls: int = args.calls
        return (all_.seconds(variant) - none.seconds(variant)) / calls * 1e6

    size = (all_.log_bytes - none.log_bytes) / args.calls
    common.table(
        ["", "seconds", "µs a call", "times native", "bytes a call"],
        [
            [
                variant,
                f"{all_.seconds(variant):.3f}",
                f"{each(variant):.2f}",
                f"{each(variant) / each('native'):.1f}",
                f"{size:.2f}" if variant == "record" else "",
            ]
            for variant in ("native", "record", "replay")
        ],
    )


if __name__ == "__main__":
    main()
