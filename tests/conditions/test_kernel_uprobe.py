"""Uprobes: the table of emulated instructions, and sites on them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relive.conditions import ir
from relive.conditions.ir import Binary, Const, Load, Reg
from relive.conditions.kernel import abi, uprobe
from relive.conditions.kernel.layout import Told, Why
from relive.conditions.kernel.programs import Programs
from relive.conditions.kernel.site import NEVER, Collecting, Record, UprobeSite
from relive.conditions.kernel.uprobe import Emulated, Kind
from tests.conditions.kernel_child import BRANCH, HOT, NOP, RBX, RIP, RSP, Code, Pages, Tracee
from tests.conditions.kernel_facilities import need_bpf, need_uprobes
from tests.conditions.strategies import LONG

WORD = 0x6B20_0000_0000

#: f(n in rdi, word in rsi), with one of each emulated instruction: rbx counts down from n
EACH = bytes.fromhex(
    "53"  # 0   push rbx                    PUSH
    "4154"  # 1   push r12                  PUSH
    "4889fb"  # 3   mov rbx, rdi
    "90"  # 6   1: nop                      NOP
    "e802000000"  # 7   call 2f             CALL
    "eb06"  # 12  jmp 3f                    JUMP
    "53"  # 14  2: push rbx                 PUSH
    "48891e"  # 15  mov [rsi], rbx
    "5b"  # 18  pop rbx
    "c3"  # 19  ret
    "e900000000"  # 20  3: jmp 4f           JUMP
    "48ffcb"  # 25  4: dec rbx
    "0f85e4ffffff"  # 28  jnz 1b            BRANCH
    "415c"  # 34  pop r12
    "5b"  # 36  pop rbx
    "c3"  # 37  ret
)
SITES = {6: Kind.NOP, 7: Kind.CALL, 12: Kind.JUMP, 14: Kind.PUSH, 20: Kind.JUMP, 28: Kind.BRANCH}


def test_the_table() -> None:
    assert uprobe.emulated(b"\x90") == Emulated(Kind.NOP, 1)
    for first in range(0x70, 0x80):
        assert uprobe.emulated(bytes([first, 0])) == Emulated(Kind.BRANCH, 2)
    for second in range(0x80, 0x90):
        assert uprobe.emulated(bytes([0x0F, second, 0, 0, 0, 0])) == Emulated(Kind.BRANCH, 6)
    for first in range(0x50, 0x58):
        assert uprobe.emulated(bytes([first, 0x90])) == Emulated(Kind.PUSH, 1)
        assert uprobe.emulated(bytes([0x41, first])) == Emulated(Kind.PUSH, 2)
    assert uprobe.emulated(b"\xeb\x00") == Emulated(Kind.JUMP, 2)
    assert uprobe.emulated(b"\xe9\0\0\0\0") == Emulated(Kind.JUMP, 5)
    assert uprobe.emulated(b"\xe8\0\0\0\0") == Emulated(Kind.CALL, 5)


@pytest.mark.parametrize("code", ["", "c3", "6690", "66e80000", "48ff", "0f0b", "5bc3", "4158"])
def test_not_in_the_table(code: str) -> None:
    assert uprobe.emulated(bytes.fromhex(code)) is None


def test_the_registers_before() -> None:
    regs = list(range(27))
    for kind in Kind:
        before = uprobe.before(regs, 0x1234, Emulated(kind, 1))
        assert before[RIP] == 0x1234
        assert before[RSP] == regs[RSP] + (8 if kind in (Kind.CALL, Kind.PUSH) else 0)


def test_locate() -> None:
    place = uprobe.locate(os.getpid(), int(next(executable_ranges()).split("-")[0], 16) + 5)
    assert place is not None
    assert Path(place.path).samefile(place.name)
    assert uprobe.locate(os.getpid(), 0x1000) is None


def executable_ranges() -> Iterator[str]:
    for line in Path("/proc/self/maps").read_text().splitlines():
        if " r-xp " in line and line.endswith(".so.6"):
            yield line.split()[0]


Runner = Callable[[int], int]


@pytest.fixture
def each(tmp_path: Path) -> Iterator[tuple[int, Runner]]:
    need_uprobes()
    need_bpf(abi.BPF_PROG_TYPE_KPROBE)
    with Pages([(WORD, 4096)]) as pages, Code(EACH, str(tmp_path / "code")) as code:

        def body(n: int) -> int:
            pages.touch()
            code.call(n, WORD)
            return 0

        yield code.start, body


@pytest.mark.parametrize("offset", SITES)
def test_sites(each: tuple[int, Runner], offset: int) -> None:
    start, body = each
    third = Binary("eq", Reg(RBX), Const(700 if offset != 28 else 699))
    with (
        Programs() as programs,
        Tracee(lambda: body(1000)) as child,
        UprobeSite(programs, child.pid, start + offset, EACH[offset:], third) as site,
    ):
        assert site.instruction.kind == SITES[offset]
        site.attach()
        child.release()
        child.stop()
        assert site.take_stop(child.pid) == Told(child.pid, 301, Why.CANDIDATE)
        regs = site.before(child.regs())
        assert regs[RIP] == start + offset
        assert regs[RBX] == (700 if offset != 28 else 699)
        assert child.run() == 0
        assert site.counts() == (1000, 1, 0, 0, 0, 0, 0)


def test_undecided_and_memory(each: tuple[int, Runner]) -> None:
    start, body = each
    word = Load(Const(WORD), 8)
    expr = ir.Logic(
        "or",
        Binary("eq", word, Const(800)),
        ir.Logic("and", Binary("eq", word, Const(400)), Load(Const(0), 1)),
    )
    with (
        Programs() as programs,
        Tracee(lambda: body(1000)) as child,
        UprobeSite(programs, child.pid, start + 28, EACH[28:], expr) as site,
    ):
        site.attach()
        child.release()
        child.stop()
        assert site.take_stop(child.pid) == Told(child.pid, 201, Why.CANDIDATE)
        child.run()
        assert site.take_stop(child.pid) == Told(child.pid, 601, Why.UNDECIDED)
        assert child.run() == 0
        assert site.counts() == (1000, 1, 1, 0, 0, 0, 0)


def test_collect(each: tuple[int, Runner]) -> None:
    start, body = each
    with Programs() as programs, Tracee(lambda: body(1000)) as child:
        collect = Collecting((Reg(RBX),), ring_size=1 << 16)
        with UprobeSite(programs, child.pid, start + 14, EACH[14:], collect=collect) as site:
            site.attach()
            child.release()
            assert child.stop() == 0
            assert site.drain() == [Record(child.pid, i + 1, (1000 - i,)) for i in range(1000)]


def test_threads_on_all_cores_are_counted_exactly(each: tuple[int, Runner]) -> None:
    start, body = each
    n = 1_000_000 if LONG else 50_000

    def threads() -> int:
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
        running = [threading.Thread(target=body, args=(n // 4,)) for _ in range(4)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        return 0

    odd = Binary("and", Reg(RBX), Const(1))
    with (
        Programs() as programs,
        Tracee(threads) as child,
        UprobeSite(programs, child.pid, start + 28, EACH[28:], odd, stop_at=NEVER) as site,
    ):
        site.attach()
        child.release()
        assert child.stop() == 0
        assert site.counts() == (n, n // 2, 0, 0, 0, 0, 0)


def test_close_later(each: tuple[int, Runner]) -> None:
    start, body = each
    with Programs() as programs, Tracee(lambda: body(1000)) as child:
        site = UprobeSite(programs, child.pid, start + 28, EACH[28:])
        site.attach()
        wait = site.close_later()
        child.release()
        assert child.stop() == 0
        wait()


def test_what_can_have_no_uprobe(each: tuple[int, Runner]) -> None:
    start, _ = each
    with Programs() as programs:
        with pytest.raises(ValueError, match="emulate"):
            UprobeSite(programs, os.getpid(), start + 15, EACH[15:])
        with pytest.raises(ValueError, match="file"):
            UprobeSite(programs, os.getpid(), WORD, b"\x90")


def test_hot_loop_sites(tmp_path: Path) -> None:
    """A nop of several bytes is single-stepped by older kernels: not in the table."""
    assert uprobe.emulated(HOT[NOP:]) is None
    assert uprobe.emulated(HOT[BRANCH:]) == Emulated(Kind.BRANCH, 2)
