"""All figures of BENCHMARKS.md, or the ones named: `python bench/run.py [NAME...] [--quick]`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

#: benchmark: the options of a quick look
ALL = {
    "startup": ["--rounds", "5"],
    "cpu_bound": ["--rounds", "2", "--seconds", "1"],
    "conditions": ["--quick"],
    "system_calls": ["--rounds", "1", "--calls", "50000"],
    "recorder_memory": ["--events", "100000"],
    "pathological": ["--rounds", "1", "--hits", "20000", "--iterations", "300000000"],
    "asynchronous": ["--rounds", "1", "--seconds", "1"],
    "workloads": ["--rounds", "1", "--replays", "1"],
    "replay20_async": ["--replays", "2", "--handovers", "5000"],
    "accuracy": ["--only", "loops"],
}


def main() -> int:
    words = sys.argv[1:]
    quick = "--quick" in words
    names = [word for word in words if word != "--quick"] or list(ALL)
    status = 0
    for name in names:
        options = ALL.get(name, []) if quick else []
        command = [sys.executable, "-m", f"bench.{name}", *options]
        status |= subprocess.run(command, cwd=Path(__file__).parent.parent).returncode
    return status


if __name__ == "__main__":
    sys.exit(main())
