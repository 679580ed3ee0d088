"""Counting without BPF, and what is found out about the machine."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from relive.conditions import ir
from relive.conditions.ir import Binary, Const, Expr, Hits, Reg
from relive.conditions.kernel import machine, perf, supports, uprobe_supports
from relive.conditions.kernel.counting import CountingSite, Plan, plan
from relive.conditions.kernel.site import Notify
from tests.conditions.kernel_child import HOT, RBX, RIP, SITE, Code, Pages, Tracee
from tests.conditions.kernel_facilities import need_bpf, need_breakpoints

WORD = 0x6B20_0000_0000
Hot = Callable[[int], int]

EQ5 = Binary("eq", Hits(), Const(5))
FROM5 = Binary("ule", Const(5), Hits())
ABOVE5 = Binary("ult", Const(5), Hits())
EACH5 = Binary("eq", Binary("urem", Hits(), Const(5)), Const(0))


@pytest.mark.parametrize(
    ("condition", "count", "expected"),
    [
        (ir.TRUE, None, Plan(1, 1)),
        (ir.TRUE, 7, Plan(7, None)),
        (Const(9), 1, Plan(1, None)),
        (ir.FALSE, None, None),
        (EQ5, None, Plan(5, None)),
        (EQ5, 1, Plan(5, None)),
        (EQ5, 2, None),
        (Binary("eq", Const(5), Hits()), None, Plan(5, None)),
        (Binary("eq", Hits(), Const(0)), None, None),
        (Binary("eq", Hits(), Const(1 << 63)), None, None),
        (FROM5, None, Plan(5, 1)),
        (FROM5, 3, Plan(7, None)),
        (Binary("ule", Const(0), Hits()), None, Plan(1, 1)),
        (ABOVE5, None, Plan(6, 1)),
        (EACH5, None, Plan(5, 5)),
        (EACH5, 4, Plan(20, None)),
        (Reg(RBX), None, None),
        (Binary("ult", Hits(), Const(5)), None, None),
    ],
)
def test_plans(condition: Expr, count: int | None, expected: Plan | None) -> None:
    assert plan(condition, count) == expected


@pytest.fixture
def hot() -> Iterator[Hot]:
    need_breakpoints()
    with Pages([(WORD, 4096)]), Code(HOT) as code:

        def body(n: int) -> int:
            code.call(n, WORD)
            return 0

        yield body


PLACE = 0x6A00_0000_0000 + SITE


@pytest.mark.parametrize(
    ("condition", "count", "expected"),
    [
        (ir.TRUE, 200, [200]),
        (EQ5, None, [5]),
        (FROM5, None, list(range(5, 301))),
        (EACH5, None, list(range(5, 301, 5))),
        (EACH5, 2, [10]),
    ],
)
def test_stops_exactly_there(
    hot: Hot, condition: Expr, count: int | None, expected: list[int]
) -> None:
    wanted = plan(condition, count)
    assert wanted is not None
    with Tracee(lambda: hot(300)) as child, CountingSite(child.pid, PLACE, wanted) as site:
        child.release()
        status = child.stop()
        found = []
        while os.WIFSTOPPED(status):
            assert perf.trap_cookie(child.info()) == site.cookie
            regs = child.regs()
            assert regs[RIP] == PLACE
            hit = site.take_stop()
            assert hit == regs[RBX] + 1
            found.append(hit)
            status = child.run()
        assert found == expected


def test_what_the_machine_allows() -> None:
    need_breakpoints()
    need_bpf()
    assert machine.missing() is None
    assert supports(ir.TRUE) is None
    assert "fs_base" in str(supports(ir.reg("fs_base")))
    assert machine.way() in (Notify.SIGTRAP, Notify.PROGRAM)
    # Nothing is left pending or blocked.
    assert signal.SIGRTMAX - 1 not in signal.sigpending()
    assert signal.SIGRTMAX - 1 not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_where_there_can_be_no_uprobe() -> None:
    assert "emulate" in str(uprobe_supports(ir.TRUE, os.getpid(), 0x1000, b"\x0f\x0b"))
    assert "file" in str(uprobe_supports(ir.TRUE, os.getpid(), 0x1000, b"\x90"))


def test_who_blocks_sigtrap() -> None:
    tid = threading.get_native_id()
    assert not machine.blocks_sigtrap(tid)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTRAP])
    try:
        assert machine.blocks_sigtrap(tid)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTRAP])
