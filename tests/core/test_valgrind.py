"""The C core, as it watches live programs, under valgrind's memcheck: no error and no lost memory
with a frame of the core in it.  (CPython's own are not ours to judge.)"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.live.targets import build

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.limit(600)
def test_live_programs(tmp_path: Path) -> None:
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        pytest.skip("valgrind is not installed")
    for name in ("threads", "watched", "signals", "forks", "service"):
        build(tmp_path, name)
    report = tmp_path / "report.xml"
    command = [
        valgrind,
        "--error-limit=no",
        "--leak-check=full",
        "--show-leak-kinds=definite",
        "--num-callers=40",
        "--xml=yes",
        f"--xml-file={report}.%p",
        sys.executable,
        "-m",
        "tests.core.valgrind_child",
        str(tmp_path),
    ]
    environment = {**os.environ, "PYTHONMALLOC": "malloc", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=580
    )
    assert done.stdout.endswith("done\n"), done.stderr[-3000:]
    found = []
    reports = list(tmp_path.glob("report.xml.*"))
    assert reports
    for path in reports:
        text = path.read_text()
        if not text.rstrip().endswith("</valgrindoutput>"):
            continue  # a child that was killed, or that executed a program
        for error in ET.fromstring(text).iter("error"):
            frames = [frame.findtext("fn", "?") for frame in error.iter("frame")]
            if any("_core" in frame.findtext("obj", "") for frame in error.iter("frame")):
                found.append(f"{error.findtext('kind')}: {' < '.join(frames[:12])}")
    assert not found, "\n".join(found)
