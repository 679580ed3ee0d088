"""Real programs, recorded and replayed; the ones with the same output every time natively too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workloads import harness
from tests.workloads.catalogue import WORKLOADS, Missing, Workload, lay_out
from tests.workloads.more import MORE


@pytest.mark.slow
@pytest.mark.limit(150 + 60 * harness.REPLAYS)
@pytest.mark.parametrize("workload", (*WORKLOADS, *MORE), ids=lambda workload: workload.name)
def test_recorded_and_replayed(workload: Workload, tmp_path: Path) -> None:
    try:
        command = lay_out(workload, tmp_path / "work")
    except Missing as error:
        pytest.skip(str(error))
    recorded, _ = harness.check(command, tmp_path, work=tmp_path / "work", timeout=workload.limit)
    assert recorded.status == workload.status, recorded.stderr.decode()
    assert recorded.stdout or workload.name == "true"
    if workload.deterministic:
        lay_out(workload, tmp_path / "work")
        native = harness.run(command, cwd=tmp_path / "work", timeout=workload.limit)
        assert (native.status, native.stdout) == (recorded.status, recorded.stdout)
