"""The doctor: probes are isolated, and say what they saw."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from relive.cli.doctor import fatal, line
from relive.doctor import Finding, Probe, examine, probes
from relive.doctor.isolate import isolated
from tests.conftest import Relive


def probe(run: object, required: bool = False) -> Probe:
    assert callable(run)
    return Probe("sample", "nothing", run, required)


def test_a_finding_comes_back() -> None:
    finding = Finding("note", "tried ✓", "more")
    assert isolated(probe(lambda: finding)) == finding


def test_an_oserror_is_a_no() -> None:
    def refuse() -> Finding:
        raise PermissionError(1, "Operation not permitted", "bpf")

    assert isolated(probe(refuse)) == Finding("no", "bpf: Operation not permitted (EPERM)")


def test_a_probe_may_die() -> None:
    def die() -> Finding:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    assert isolated(probe(die)).status == "no"


def test_a_probe_may_hang() -> None:
    def hang() -> Finding:
        if os.fork() == 0:
            signal.pause()
        time.sleep(100)
        raise AssertionError

    start = time.monotonic()
    assert "did not end" in isolated(probe(hang), 0.2).detail
    assert time.monotonic() - start < 5


def test_a_defect_in_a_probe_is_seen(capfd: pytest.CaptureFixture[str]) -> None:
    def defect() -> Finding:
        raise ZeroDivisionError

    assert isolated(probe(defect)).status == "no"
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_nothing_is_left_behind() -> None:
    before = set(os.listdir("/proc/self/fd"))
    for each in probes():
        examine(each)
    assert set(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_names_are_unique() -> None:
    names = [each.name for each in probes()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ["ptrace", "ptrace sysemu", "/proc/PID/mem", "core pinning"])
def test_what_the_other_tests_need(name: str) -> None:
    found = examine(next(each for each in probes() if each.name == name))
    assert found.status == "yes", found


def test_lines() -> None:
    finding = Finding("no", "it failed", "try harder")
    assert fatal(probe(lambda: finding, True), finding)
    text = line(probe(lambda: finding, True), finding)
    assert text.startswith("  NO  sample")
    assert "to get more: try harder" in text


def test_the_command(relive: Relive) -> None:
    text = relive("doctor", timeout=60)
    rows = json.loads(relive("doctor", "--json", timeout=60).stdout)
    assert {row["name"] for row in rows} == {each.name for each in probes()}
    assert all(row["status"] in ("yes", "no", "note") for row in rows)
    for row in rows:
        assert row["name"] in text.stdout
    broken = any(row["required"] and row["status"] == "no" for row in rows)
    assert text.returncode == int(broken)
    assert relive("doctor", "--list", check=True).stdout.count("\n") == len(rows)
