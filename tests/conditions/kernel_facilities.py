"""What the tests of the kernel evaluator need of the machine, and how to skip without it."""

from __future__ import annotations

import functools

import pytest

from relive.conditions import ir
from relive.conditions.errors import ConditionError
from relive.conditions.kernel import abi, perf
from relive.conditions.kernel.bpf import DirectLoader, Program
from relive.conditions.kernel.lower_bpf import Deliver, lower


@functools.cache
def _missing_program(kind: int) -> str:
    deliver = Deliver.OUTCOME if kind == abi.BPF_PROG_TYPE_SYSCALL else Deliver.RETURN
    try:
        Program(lower(ir.TRUE, kind=kind, deliver=deliver).code, DirectLoader()).close()
    except (ConditionError, OSError) as error:
        return f"no BPF programs of type {kind} here: {error}".splitlines()[0]
    return ""


@functools.cache
def _missing_breakpoints() -> str:
    try:
        perf.Event.breakpoint(0, 0x1000).close()
    except OSError as error:
        return f"no perf breakpoint events here: {error}"
    return ""


@functools.cache
def _missing_uprobes() -> str:
    from relive.conditions.kernel import uprobe

    return uprobe.missing() or ""


def need_bpf(kind: int = abi.BPF_PROG_TYPE_PERF_EVENT) -> None:
    """Skip without the right to load programs of this type."""
    if why := _missing_program(kind):
        pytest.skip(why)


def need_breakpoints() -> None:
    """Skip without perf breakpoint events."""
    if why := _missing_breakpoints():
        pytest.skip(why)


def need_uprobes() -> None:
    """Skip without uprobes."""
    if why := _missing_uprobes():
        pytest.skip(why)
