"""Every workload replayed 20 times: the table of divergences."""

from __future__ import annotations

from bench import workloads

if __name__ == "__main__":
    workloads.main(rounds=1, replays=20)
