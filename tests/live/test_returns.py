"""Values collected when a function returns, in every way that a function may."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relive import live
from relive.live.request import Request
from relive.symbols.errors import SymbolError
from tests.live.targets import EVALUATORS, natively, run_under

Programs = Callable[..., Path]
Pair = tuple[int, ...]
N = 60
THREADS = 3
MASK = (1 << 64) - 1


def direct(thread: int, number: int, calls: list[Pair]) -> int:
    """What the function returns; its calls with what each returned."""
    if number < 4:
        result = thread + number
    elif number % 2:
        result = direct(thread, number // 2, calls) + 1
    else:
        result = number * 3 + thread
    calls.append((thread, number, result))
    return result


def expected_of_direct() -> Counter[Pair]:
    calls: list[Pair] = []
    for thread in range(THREADS):
        for number in range(N):
            direct(thread, number, calls)
            direct(thread, number + 1, calls)
    return Counter(calls)


def collected(
    program: Programs, directory: Path, request: Request
) -> tuple[live.Counts, list[live.Record], live.Armed]:
    command = (program("returns"), str(THREADS), str(N))
    try:
        ran = run_under(directory, command, [request])
    except live.CannotArm as error:
        if request.evaluator in ("kernel", "uprobe"):
            pytest.skip(str(error))
        raise
    assert (ran.status, ran.output) == (0, natively(command))
    assert not [event for event in ran.events if isinstance(event, live.Hit)]
    return ran.counts[0], ran.records, ran.sites[0].armed[0]


@pytest.mark.parametrize("evaluator", [e for e in (*EVALUATORS, "auto") if e != "uprobe"])
@pytest.mark.parametrize("when", ["", "rsi % 8 != 5"])
def test_each_call_with_what_it_returned(
    program: Programs, tmp_path: Path, evaluator: Any, when: str
) -> None:
    action = live.collect("rdi", "rsi", at_return=["rax"])
    counts, records, armed = collected(
        program, tmp_path, Request("direct", when, action, evaluator)
    )
    expected = expected_of_direct()
    kept = Counter({pair: n for pair, n in expected.items() if not when or pair[1] % 8 != 5})
    assert Counter(record.values for record in records) == kept
    assert counts == live.Counts(
        expected.total(), kept.total(), expected.total() - kept.total(), 0, 0
    )
    assert len({record.hit for record in records}) == len(records)
    assert len({(record.tid, record.values[0]) for record in records}) == THREADS
    # In the process calls do not stop.
    assert armed.collects_returns == (evaluator in ("auto", "inprocess"))


@pytest.mark.parametrize("evaluator", ["inprocess", "supervisor"])
def test_a_function_that_leaves_by_a_jump(
    program: Programs, tmp_path: Path, evaluator: Any
) -> None:
    action = live.collect("rdi", "rsi", at_return=["rax"])
    _, records, armed = collected(program, tmp_path, Request("tail", "", action, evaluator))
    ignored: list[Pair] = []
    expected = [(t, n, direct(t, n + 1, ignored)) for t in range(THREADS) for n in range(N)]
    assert sorted(record.values for record in records) == sorted(expected)
    assert not armed.collects_returns


@pytest.mark.parametrize("when", ["", "rsi % 2"])
def test_calls_that_never_return(program: Programs, tmp_path: Path, when: str) -> None:
    """longjmp: they have no value, and the next call's return is not taken for theirs."""
    action = live.collect("rsi", at_return=["i64(rax)"])
    _, records, armed = collected(program, tmp_path, Request("leaves", when, action))
    expected = Counter(
        (n, None if n % 3 == 0 else -n & MASK) for n in range(N) if not when or n % 2
    )
    assert Counter(record.values for record in records) == Counter(
        {pair: THREADS * n for pair, n in expected.items()}
    )
    assert armed.collects_returns


@pytest.mark.parametrize("evaluator", ["inprocess", "supervisor"])
def test_a_value_that_can_not_be_read_at_the_return(
    program: Programs, tmp_path: Path, evaluator: Any
) -> None:
    action = live.collect("rdi", at_return=["u64[rax]", "rax != 0"])
    _, records, _ = collected(program, tmp_path, Request("faulty", "", action, evaluator))
    assert Counter(record.values[:2] for record in records) == Counter(
        {(n, 5 if n % 4 else None): THREADS for n in range(N)}
    )


def test_only_functions_return(program: Programs, tmp_path: Path) -> None:
    command = [str(program("returns")), "1", "1"]
    with live.Session() as session:
        session.start(command)
        with pytest.raises(SymbolError, match="not where a function begins"):
            session.add("direct+4", "", live.collect(at_return=["rax"]))
        assert session.sites == {}
    with pytest.raises(ValueError, match="data does not return"):
        Request("word", "", live.collect(at_return=["rax"]), access=live.Access.WRITE)
