"""More programs that people run, a shell script each in files/more; a first line says what tools it
needs (`# needs: TOOL...`).  Each prints something and ends with 0."""

from __future__ import annotations

from tests.workloads.catalogue import FILES, Workload

_HEAD = "# needs:"


def _workloads() -> tuple[Workload, ...]:
    found = []
    for script in sorted((FILES / "more").glob("*.sh")):
        first = script.read_text().split("\n", 1)[0]
        if not first.startswith(_HEAD):
            raise ValueError(f"{script}: the first line is not `{_HEAD} TOOL...`")
        found.append(
            Workload(
                f"more-{script.stem}",
                ("bash", script.name),
                tuple(first.removeprefix(_HEAD).split()),
                (f"more/{script.name}",),
                limit=120,
            )
        )
    return tuple(found)


MORE = _workloads()
