"""`relive doctor --selftest`: proofs hold, are refused in words, and notice what is wrong."""

from __future__ import annotations

import codecs
import faulthandler  # noqa: F401 - see test_an_ordinary_user
import json
import os
import resource  # noqa: F401

import pytest

from relive.cli.doctor import verdict
from relive.conditions import ir
from relive.conditions.kernel import machine, uprobe
from relive.doctor import Finding, Probe, examine, inprocess, kernel, selftest
from relive.doctor.selftest import PROOFS, Missing
from tests.conftest import Relive

NAMES = [proof.name for proof in PROOFS]
#: what needs no privilege where ptrace and perf_event_paranoid <= 2 allow it
ORDINARY = ["supervisor, int3", "supervisor, DR7", "kernel, counting", "in-process"]


def test_names_are_unique() -> None:
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("proof", PROOFS, ids=NAMES)
def test_each_holds(proof: Probe) -> None:
    found = examine(proof)
    if found.status == "note":
        pytest.skip(found.detail)
    assert found.status == "yes", found


def test_an_ordinary_user(capfd: pytest.CaptureFixture[str]) -> None:
    """Without privileges some is not tried, and nothing is said to be wrong."""
    if os.geteuid():
        pytest.skip("only root can become somebody else")
    if machine.breakpoints_missing():
        pytest.skip(machine.breakpoints_missing() or "")
    # The interpreter may lie where nobody can't read: have everything loaded.
    assert inprocess
    codecs.lookup("ascii")
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        kernel.prctl("prctl(PR_SET_DUMPABLE)", 4, 1)  # children of a changed user are not traced
        machine.breakpoints_missing.cache_clear()
        machine.programs_missing.cache_clear()
        uprobe.missing.cache_clear()
        found = {proof.name: examine(proof) for proof in PROOFS}
        os.write(writer, json.dumps(found).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answers = {name: Finding(*finding) for name, finding in json.load(pipe).items()}
    os.waitpid(pid, 0)
    assert all(finding.status != "no" for finding in answers.values()), answers
    tried = [name for name, finding in answers.items() if finding.status == "yes"]
    if paranoid() <= 2:
        assert tried == ORDINARY
    assert "relive-bpf-helper" in answers["rejected hit"].detail


def paranoid() -> int:
    with open("/proc/sys/kernel/perf_event_paranoid") as file:
        return int(file.read())


def test_a_wrong_kernel_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What kernels before 6.10 do: rejected hits are told."""
    if machine.missing():
        pytest.skip(machine.missing() or "")
    real = selftest._watch

    def watch(n: int, condition: object, **rest: object) -> selftest.Seen:
        seen = real(n, ir.TRUE, **rest)  # type: ignore[arg-type]
        return seen._replace(samples=0)

    monkeypatch.setattr(selftest, "_watch", watch)
    found = selftest.rejected_hits()
    assert found.status == "no"
    assert "signals" in found.detail
    assert "6.10" in found.more


def test_what_is_missing_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Finding:
        raise Missing("no moon")

    proof = selftest._proof("moon", "none", fail)
    assert proof.run() == Finding("note", "not tried: no moon")


def test_verdict() -> None:
    rows = [(PROOFS[0], Finding("yes", "")), (PROOFS[1], Finding("note", ""))]
    assert verdict([], rows[:1]) == "all of it holds here\n"
    assert PROOFS[1].name in verdict([], rows)
    assert verdict(["x"], rows) == "does not hold here: x\n"


def test_the_command(relive: Relive) -> None:
    result = relive("doctor", "--selftest", "--json", timeout=60)
    rows = json.loads(result.stdout)
    assert [row["name"] for row in rows] == NAMES
    assert result.returncode == any(row["status"] == "no" for row in rows)
    assert relive("doctor", "--selftest", "--list", check=True).stdout.count("\n") == len(NAMES)
