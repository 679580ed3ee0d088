"""C variables of libraries: linked ones, ones that are loaded later, thread-local ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from relive import live
from tests.live.compiled import build
from tests.live.targets import EVALUATORS, run_under

SHARED = ("-shared", "-fPIC", "-O0")
VALUES = (
    "request.length",
    "request.parent.length",
    "request.name[0]",
    "number",
    "calls",
    "exported",
)
THREAD = ("of_a_thread", "shown_to_all")


def built(directory: Path, how: str, *options: str) -> list[str]:
    """The program's command."""
    library = build(directory, "library.c", "gcc", "-g", *SHARED, *options, name="liblibrary.so")
    if how == "loaded":
        return [str(build(directory, "uses_library.c", "gcc", "-g")), str(library)]
    linked = ("-DLINKED", f"-L{directory}", f"-Wl,-rpath,{directory}", "-Wl,--no-as-needed")
    pie = ("-fno-pie", "-no-pie") if how == "copied" else ()
    return [str(build(directory, "uses_library.c", "gcc", "-g", *linked, *pie, "-llibrary"))]


def expected(how: str, values: Sequence[str]) -> list[tuple[int, ...]]:
    """What is collected at the second and third call."""
    more = 0 if how == "loaded" else 10
    rows = []
    for call in (1, 2):
        known = {
            "request.length": 5000 + 1000 * call,
            "request.parent.length": 10,
            "request.name[0]": ord("c"),
            "number": call,
            "calls": call - 1,
            "exported": 3 + more + call,
            "of_a_thread": 5 + (call == 2),
            "shown_to_all": -6 - (call == 2),
        }
        rows.append(tuple(known[name] & (1 << 64) - 1 for name in values))
    return rows


@pytest.mark.limit(120)
@pytest.mark.parametrize("how", ["loaded", "linked", "copied"])
@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_a_function_of_a_library(evaluator: live.EvaluatorName, how: str, tmp_path: Path) -> None:
    if evaluator in ("uprobe", "kernel") and os.geteuid() != 0:
        pytest.skip(f"{evaluator} needs root here")
    command = built(tmp_path, how)
    values = VALUES if evaluator in ("uprobe", "kernel") else VALUES + THREAD
    action = live.collect(*values)
    request = live.Request("handle", "request.length > 5500 and calls >= 0", action, evaluator)
    ran = run_under(tmp_path, command, [request])
    assert [event for event in ran.events if isinstance(event, live.Failed)] == []
    assert [record.values for record in ran.records] == expected(how, values)
    assert ran.counts[0] == live.Counts(3, 2, 1, 0, 0)


@pytest.mark.parametrize("model", ["initial-exec", "global-dynamic", "local-dynamic"])
def test_models_of_thread_local_storage(model: str, tmp_path: Path) -> None:
    command = built(tmp_path, "linked", f"-ftls-model={model}")
    request = live.Request("handle", "number > 0", live.collect(*THREAD), "supervisor")
    ran = run_under(tmp_path, command, [request])
    assert [record.values for record in ran.records] == expected("linked", THREAD)


def test_descriptors_of_thread_local_storage_are_named(tmp_path: Path) -> None:
    command = built(tmp_path, "linked", "-mtls-dialect=gnu2")
    request = live.Request("handle", "of_a_thread > 0", live.count(), "supervisor")
    ran = run_under(tmp_path, command, [request])
    (failed,) = [event for event in ran.events if isinstance(event, live.Failed)]
    assert "it is thread-local, and nothing says where threads keep" in failed.why


@pytest.mark.parametrize("how", ["loaded", "linked"])
def test_a_type_that_only_the_library_defines(how: str, tmp_path: Path) -> None:
    """The program itself knows no more than that there is a struct opaque."""
    command = built(tmp_path, how)
    request = live.Request("look", "made.secret < -7", live.collect("made.number"), "supervisor")
    ran = run_under(tmp_path, command, [request])
    assert [record.values for record in ran.records] == [(2,), (3,)]


def test_values_when_the_function_returns(tmp_path: Path) -> None:
    command = built(tmp_path, "linked")
    after = ["i32(eax)", "exported", "cast('struct request *', rdi).length > 0"]
    for evaluator in ("inprocess", "supervisor"):
        action = live.collect("number", at_return=after[:2])
        ran = run_under(tmp_path, command, [live.Request("handle", "", action, evaluator)])
        assert [one.values for one in ran.records] == [
            (number, 5000 - 1 + 1000 * number, 14 + number) for number in range(3)
        ]
    action = live.collect(at_return=["request.length"])
    ran = run_under(tmp_path, command, [live.Request("handle", "", action, "supervisor")])
    (failed,) = [event for event in ran.events if isinstance(event, live.Failed)]
    assert "unknown name request" in failed.why
    assert "gone when it has returned: --collect them at the call" in failed.why


def test_variables_at_a_watchpoint(tmp_path: Path) -> None:
    command = built(tmp_path, "linked")
    action = live.collect("exported", "calls")
    request = live.Request("exported", "exported > 14", action, access=live.Access.WRITE, size=4)
    ran = run_under(tmp_path, command, [request])
    assert [record.values for record in ran.records] == [(15, 1), (16, 2)]
