"""Sites decided in the kernel, through real hits of a traced child."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relive.conditions import ir
from relive.conditions.ir import Binary, Const, Expr, Hits, Load, Logic, Outcome, Reg
from relive.conditions.kernel import layout, perf
from relive.conditions.kernel.programs import Programs
from relive.conditions.kernel.samples import Samples
from relive.conditions.kernel.site import (
    NEVER,
    Access,
    BreakpointSite,
    Collecting,
    Full,
    Inherit,
    Notify,
    Record,
    Told,
    Why,
)
from relive.conditions.reference import evaluate
from tests.conditions.kernel_child import (
    FLAGS,
    HOT,
    MASKED,
    ONCE,
    ORIG_RAX,
    RBX,
    RIP,
    RSP,
    SITE,
    WRITE,
    Code,
    Pages,
    Tracee,
    trapped,
)
from tests.conditions.kernel_facilities import need_bpf, need_breakpoints
from tests.conditions.strategies import GENERAL_REGISTERS, LONG, Memory, State, triples

WORD = 0x6B20_0000_0000
RANGES = ((0x6B00_0000_0000, 4096), (0x6B10_0000_0000, 4096))
EVEN = Binary("eq", Binary("and", Reg(RBX), Const(1)), Const(0))
#: flags that a tracer may set and that change nothing of how nop runs
SETTABLE = 0xCD5


def rbx_is(number: int) -> Expr:
    return Binary("eq", Reg(RBX), Const(number))


@pytest.fixture(autouse=True)
def _facilities() -> None:
    need_breakpoints()
    need_bpf()


@pytest.fixture(scope="module")
def programs() -> Iterator[Programs]:
    with Programs() as result:
        yield result


@pytest.fixture
def hot() -> Iterator[Callable[[int], int]]:
    """hot(n) for the child's body: the loop n times."""
    with Pages([(WORD, 4096)]) as pages, Code(HOT) as code:

        def body(n: int) -> int:
            pages.touch()
            code.call(n, WORD)
            return 0

        yield body


PLACE = 0x6A00_0000_0000 + SITE

Hot = Callable[[int], int]


@pytest.mark.parametrize("notify", list(Notify))
def test_stops_exactly_there(programs: Programs, hot: Hot, notify: Notify) -> None:
    with (
        Tracee(lambda: hot(3000)) as child,
        BreakpointSite(programs, PLACE, EVEN, notify=notify) as site,
    ):
        site.attach(child.pid)
        child.release()
        status = child.stop()
        for number in range(1500):
            assert os.WIFSTOPPED(status)
            regs = child.regs()
            assert (regs[RIP], regs[RBX]) == (PLACE, 2 * number)
            assert site.take_stop(child.pid) == Told(child.pid, 2 * number + 1, Why.CANDIDATE)
            info = child.info()
            if notify is Notify.SIGTRAP:
                assert perf.trap_cookie(info) == site.cookie
            elif notify is Notify.FD:
                assert site.event_of(perf.signal_fd(info) or -1) is site.events[child.pid]
            status = child.run()
        assert status == 0
        assert site.counts() == (3000, 1500, 0, 0, 0, 0, 0)
        assert site.counts().rejected == 1500


@pytest.mark.limit(1200)
def test_equivalence(programs: Programs) -> None:
    """Random conditions on random registers and memory, each decided by a hit of its own."""
    registers = (*GENERAL_REGISTERS, RSP, RIP, FLAGS, ORIG_RAX)
    seen = set()

    def body() -> None:
        pages.touch()
        code.call()

    with Pages(RANGES) as pages, Code(ONCE) as code, Tracee(body) as child:
        child.release()
        assert trapped(child.stop())
        start = list(child.regs())
        for expr, state in triples(100_000 if LONG else 2_000, 23, registers, RANGES):
            pages.fill(state.memory)
            regs = start.copy()
            for index in (*GENERAL_REGISTERS, RSP):
                regs[index] = state.regs[index]
            regs[FLAGS] = state.regs[FLAGS] & SETTABLE | start[FLAGS] & ~SETTABLE & ~MASKED
            regs[RIP] = code.start
            # So that no system call is restarted; the exception has none either.
            regs[ORIG_RAX] = ir.WORD_MASK
            child.set_regs(regs)
            with BreakpointSite(programs, code.start, expr) as site:
                site.program.values[layout.HITS] = state.hits - 1
                site.attach(child.pid)
                assert trapped(child.run())
                told = site.take_stop(child.pid)
                after = child.regs()
                found = Outcome(told.why) if told else Outcome.REJECT
                if told:
                    assert perf.trap_cookie(child.info()) == site.cookie
                    assert after[RIP] == code.start
                    assert told.hit == state.hits
                else:
                    assert after[RIP] == code.start + len(ONCE)
                assert site.program.values[layout.HITS] == state.hits
            # rip points at the code, which can be read too.
            here = (code.start, ONCE.ljust(4096, b"\0"))
            memory = Memory((*state.memory.regions, here))
            expected = evaluate(expr, regs, memory.read, state.hits)
            assert found == expected, (expr, State(tuple(regs), memory, state.hits))
            seen.add(found)
    assert seen == set(Outcome)


def test_constants_change_without_loading(programs: Programs, hot: Hot) -> None:
    with Tracee(lambda: hot(1000)) as child, BreakpointSite(programs, PLACE, rbx_is(5)) as site:
        site.attach(child.pid)
        loads = programs.loads
        child.release()
        child.stop()
        for number in (5, 6, 100, 999):
            assert child.regs()[RBX] == number
            site.set_condition(rbx_is({5: 6, 6: 100, 100: 999, 999: 0}[number]))
            status = child.run()
        assert status == 0
        assert programs.loads == loads


def test_constants_by_their_places(programs: Programs, hot: Hot) -> None:
    between = Logic("and", Binary("ule", Const(5), Reg(RBX)), Binary("ult", Reg(RBX), Const(6)))
    with Tracee(lambda: hot(1000)) as child, BreakpointSite(programs, PLACE, between) as site:
        site.attach(child.pid)
        child.release()
        child.stop()
        assert site.constants == [5, 6]
        site.set_constants([100, 101])
        child.run()
        assert child.regs()[RBX] == 100
        assert site.counts().hits == 101
        with pytest.raises(ValueError, match="2 constants"):
            site.set_constants([1])
        assert child.run() == 0


def test_another_shape_is_loaded(programs: Programs, hot: Hot) -> None:
    with Tracee(lambda: hot(1000)) as child, BreakpointSite(programs, PLACE, rbx_is(5)) as site:
        site.attach(child.pid)
        child.release()
        child.stop()
        site.set_condition(Binary("eq", Binary("mul", Reg(RBX), Const(3)), Const(300)))
        child.run()
        assert child.regs()[RBX] == 100
        assert site.counts().hits == 95
        assert child.run() == 0


def test_programs_are_kept_for_the_next_site(hot: Hot) -> None:
    with Programs() as programs:
        for _ in range(3):
            with BreakpointSite(programs, PLACE, EVEN), BreakpointSite(programs, PLACE, EVEN):
                pass
        assert programs.loads == 2


def test_move(programs: Programs, hot: Hot) -> None:
    with Tracee(lambda: hot(1000)) as child, BreakpointSite(programs, PLACE, rbx_is(5)) as site:
        site.attach(child.pid)
        child.release()
        child.stop()
        site.move(PLACE - SITE + WRITE)
        site.set_condition(rbx_is(10))
        child.run()
        assert (child.regs()[RIP], child.regs()[RBX]) == (PLACE - SITE + WRITE, 10)
        assert child.run() == 0


def test_from_the_nth_candidate_on(programs: Programs, hot: Hot) -> None:
    with (
        Tracee(lambda: hot(1000)) as child,
        BreakpointSite(programs, PLACE, EVEN, stop_at=100) as site,
    ):
        site.attach(child.pid)
        child.release()
        child.stop()
        assert child.regs()[RBX] == 198
        assert site.take_stop(child.pid) == Told(child.pid, 199, Why.CANDIDATE)
        child.run()
        assert child.regs()[RBX] == 200
        assert site.take_stop(child.pid) == Told(child.pid, 201, Why.CANDIDATE)
        site.set_stop_at(NEVER)
        assert child.run() == 0
        assert site.counts() == (1000, 500, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("access", [Access.WRITE, Access.READ_WRITE])
def test_watchpoints_stop_after_the_access(programs: Programs, hot: Hot, access: Access) -> None:
    written = Binary("eq", Load(Const(WORD), 8), Const(77))
    with (
        Tracee(lambda: hot(1000)) as child,
        BreakpointSite(programs, WORD, written, access=access) as site,
    ):
        site.attach(child.pid)
        child.release()
        child.stop()
        assert (child.regs()[RIP], child.regs()[RBX]) == (PLACE - SITE + WRITE + 3, 77)
        assert child.run() == 0
        assert site.counts() == (1000, 1, 0, 0, 0, 0, 1)


def test_what_the_kernel_cannot_decide_stops(programs: Programs, hot: Hot) -> None:
    expr = Logic("and", rbx_is(50), Load(Const(8), 8))
    with Tracee(lambda: hot(100)) as child, BreakpointSite(programs, PLACE, expr) as site:
        site.attach(child.pid)
        child.release()
        child.stop()
        assert child.regs()[RBX] == 50
        assert site.take_stop(child.pid) == Told(child.pid, 51, Why.UNDECIDED)
        assert child.run() == 0
        assert site.counts() == (100, 0, 1, 0, 0, 0, 0)


def test_a_blocked_sigtrap_is_noticed_and_sigstop_is_not_blocked(
    programs: Programs, hot: Hot
) -> None:
    def body() -> int:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        return hot(100)

    with Tracee(body) as child, BreakpointSite(programs, PLACE, rbx_is(50)) as site:
        site.attach(child.pid)
        child.release()
        assert os.WIFEXITED(child.stop())
        assert site.counts().outstanding == 1
    with (
        Tracee(body) as child,
        BreakpointSite(programs, PLACE, rbx_is(50), notify=Notify.FD) as site,
    ):
        site.attach(child.pid)
        child.release()
        status = child.stop()
        assert os.WSTOPSIG(status) == signal.SIGSTOP
        assert (child.regs()[RIP], child.regs()[RBX]) == (PLACE, 50)
        assert site.take_stop(child.pid) is not None
        assert child.run() == 0
        assert site.counts().outstanding == 0


def test_the_debug_registers_run_out(programs: Programs, hot: Hot) -> None:
    with Tracee(lambda: hot(1)) as child:
        sites = [BreakpointSite(programs, PLACE + i) for i in range(5)]
        try:
            for site in sites[:4]:
                site.attach(child.pid)
            with pytest.raises(OSError, match="No space") as info:
                sites[4].attach(child.pid)
            assert info.value.filename == "perf_event_open"
            sites[0].detach(child.pid)
            sites[4].attach(child.pid)
        finally:
            for site in sites:
                site.close()
        child.release()
        assert child.stop() == 0


def test_collect(programs: Programs, hot: Hot) -> None:
    collect = Collecting((Reg(RBX), Load(Const(WORD), 8)), ring_size=1 << 16)
    with (
        Tracee(lambda: hot(1000)) as child,
        BreakpointSite(programs, PLACE, EVEN, collect=collect) as site,
    ):
        site.attach(child.pid)
        child.release()
        assert child.stop() == 0
        expected = [Record(child.pid, i + 1, (i, i)) for i in range(0, 1000, 2)]
        assert site.drain() == expected
        assert site.drain() == []
        assert site.counts() == (1000, 500, 0, 0, 0, 0, 0)


def test_a_full_ring_drops_and_counts(programs: Programs, hot: Hot) -> None:
    collect = Collecting((Reg(RBX),), Full.DROP, ring_size=4096)
    with (
        Tracee(lambda: hot(1000)) as child,
        BreakpointSite(programs, PLACE, collect=collect) as site,
    ):
        site.attach(child.pid)
        child.release()
        assert child.stop() == 0
        records = site.drain()
        counts = site.counts()
        assert 0 < len(records) < 1000
        assert counts.candidates == 1000
        assert counts.lost == 1000 - len(records)
        assert counts.outstanding == 0


def test_a_full_ring_waits(programs: Programs, hot: Hot) -> None:
    collect = Collecting((Reg(RBX),), Full.WAIT, ring_size=4096)
    got = []
    with (
        Tracee(lambda: hot(1000)) as child,
        BreakpointSite(programs, PLACE, collect=collect) as site,
    ):
        site.attach(child.pid)
        child.release()
        status = child.stop()
        while os.WIFSTOPPED(status):
            told = site.take_stop(child.pid)
            assert told is not None
            assert told.why is Why.COLLECT
            got += site.drain()
            # This one found no room: the supervisor collects it itself.
            got.append(Record(told.tid, told.hit, (child.regs()[RBX],)))
            status = child.run()
        got += site.drain()
        assert status == 0
        assert [record.values for record in got] == [(i,) for i in range(1000)]
        assert [record.hit for record in got] == list(range(1, 1001))
        assert site.counts().outstanding == 0


def test_a_value_that_cannot_be_read(programs: Programs, hot: Hot) -> None:
    """The supervisor collects what the program could not; the hit is a candidate all the same."""
    unreadable = Binary("eq", Reg(RBX), Const(7))
    value = ir.Select(unreadable, Load(Const(8), 8), Hits())
    with (
        Tracee(lambda: hot(20)) as child,
        BreakpointSite(programs, PLACE, collect=Collecting((value,))) as site,
    ):
        site.attach(child.pid)
        child.release()
        child.stop()
        assert child.regs()[RBX] == 7
        assert site.take_stop(child.pid) == Told(child.pid, 8, Why.COLLECT)
        assert child.run() == 0
        assert [record.hit for record in site.drain()] == [i for i in range(1, 21) if i != 8]
        assert site.counts() == (20, 20, 0, 0, 0, 0, 0)


def test_collect_and_stop(programs: Programs, hot: Hot) -> None:
    collect = Collecting((Reg(RBX),))
    with (
        Tracee(lambda: hot(20)) as child,
        BreakpointSite(programs, PLACE, EVEN, collect=collect, stop_at=4) as site,
    ):
        site.attach(child.pid)
        child.release()
        child.stop()
        assert site.take_stop(child.pid) == Told(child.pid, 7, Why.CANDIDATE)
        assert [record.values[0] for record in site.drain()] == [0, 2, 4, 6]
        site.set_stop_at(NEVER)
        assert child.run() == 0
        assert len(site.drain()) == 6


def test_samples(programs: Programs, hot: Hot) -> None:
    fields = perf.SampleFields(registers=True, stack=64)
    with (
        Tracee(lambda: hot(1000)) as child,
        BreakpointSite(programs, PLACE, rbx_is(500), samples=fields) as site,
    ):
        site.attach(child.pid)
        with Samples(site.events[child.pid]) as samples:
            child.release()
            child.stop()
            (sample,) = samples.drain()
            regs = list(child.regs())
            regs[FLAGS] &= ~MASKED
            assert sample.tid == child.pid
            assert sample.ip == PLACE
            assert sample.regs is not None
            assert sample.regs[:ORIG_RAX] == tuple(regs[:ORIG_RAX])
            assert sample.regs[RIP : RSP + 1] == tuple(regs[RIP : RSP + 1])
            with open(f"/proc/{child.pid}/mem", "rb", 0) as memory:
                memory.seek(regs[RSP])
                assert sample.stack == memory.read(64)
            assert child.run() == 0
            assert samples.drain() == []


def test_samples_that_do_not_fit_are_counted(hot: Hot) -> None:
    with (
        Tracee(lambda: hot(1000)) as child,
        perf.Event.breakpoint(child.pid, PLACE, samples=perf.SampleFields()) as event,
        Samples(event, pages=1) as samples,
    ):
        event.enable()
        child.release()
        assert child.stop() == 0
        first = samples.drain()
        assert event.count() == 1000
        # The kernel reports what was lost with the next sample that fits; there is none.
        assert 0 < len(first) < 1000


def test_every_nth_hit_without_bpf(hot: Hot) -> None:
    with (
        Tracee(lambda: hot(1000)) as child,
        perf.Event.breakpoint(child.pid, PLACE, sigtrap=True, cookie=99, period=300) as event,
    ):
        event.enable()
        child.release()
        child.stop()
        assert perf.trap_cookie(child.info()) == 99
        assert (child.regs()[RIP], child.regs()[RBX]) == (PLACE, 299)
        event.set_period(101)
        child.run()
        assert child.regs()[RBX] == 400
        event.disable()
        assert child.run() == 0
        assert event.count() == 401


def test_new_threads_inherit(programs: Programs, hot: Hot) -> None:
    def body() -> int:
        threads = [threading.Thread(target=hot, args=(500,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if os.fork() == 0:
            hot(500)
            os._exit(0)
        os.wait()
        return 0

    collect = Collecting((Reg(RBX),), ring_size=1 << 18)
    with (
        Tracee(body) as child,
        BreakpointSite(programs, PLACE, collect=collect, inherit=Inherit.THREADS) as site,
    ):
        site.attach(child.pid)
        child.release()
        status = child.stop()
        assert os.WIFSTOPPED(status)
        assert os.WSTOPSIG(status) == signal.SIGCHLD
        assert child.run() == 0
        records = site.drain()
        assert sorted(record.hit for record in records) == list(range(1, 1501))
        tids = {record.tid for record in records}
        assert len(tids) == 3
        for tid in tids:
            mine = [record.values[0] for record in records if record.tid == tid]
            assert mine == list(range(500))
        assert site.counts() == (1500, 1500, 0, 0, 0, 0, 0)


def test_more_stops_than_slots() -> None:
    with Programs() as programs, BreakpointSite(programs, PLACE) as site:
        values = site.program.values
        for number in range(layout.N_SLOTS):
            at = layout.SLOTS + number * layout.SLOT_WORDS
            values[at : at + 4] = memoryview(struct.pack("4Q", 2, 100 + number, 7, 1)).cast("Q")
        assert site.take_stop(99) is None
        for number in reversed(range(layout.N_SLOTS)):
            assert site.take_stop(100 + number) == Told(100 + number, 7, Why.CANDIDATE)
            assert site.take_stop(100 + number) is None


def test_the_signal_of_a_descriptor_is_not_inherited(programs: Programs) -> None:
    with pytest.raises(ValueError, match="one thread"):
        BreakpointSite(programs, PLACE, notify=Notify.FD, inherit=Inherit.ALL)


@pytest.mark.limit(200)
def test_many_hits_are_counted(programs: Programs, hot: Hot) -> None:
    n = 1_000_000 if LONG else 20_000
    with (
        Tracee(lambda: hot(n)) as child,
        BreakpointSite(programs, PLACE, EVEN, stop_at=NEVER) as site,
    ):
        site.attach(child.pid)
        child.release()
        assert child.stop() == 0
        assert site.counts() == (n, n // 2, 0, 0, 0, 0, 0)


def test_task_ids_in_a_pid_namespace_of_its_own(hot: Hot) -> None:
    """The program tells the ids that the tracer knows, which are not those of the first one."""
    if os.geteuid():
        pytest.skip("only root can make a pid namespace")

    def inside() -> None:
        collect = Collecting((Reg(RBX),), ring_size=4096)
        with (
            Programs() as programs,
            Tracee(lambda: hot(100)) as child,
            BreakpointSite(programs, PLACE, EVEN, collect=collect, stop_at=50) as site,
        ):
            assert programs.namespace is not None
            site.attach(child.pid)
            child.release()
            child.stop()
            assert site.take_stop(child.pid) == Told(child.pid, 99, Why.CANDIDATE)
            assert {record.tid for record in site.drain()} == {child.pid}
            assert child.run() == 0

    def fork(body: Callable[[], None]) -> int:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                body()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        return os.waitpid(pid, 0)[1]

    def outside() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.unshare(0x2000_0000) == 0  # CLONE_NEWPID
        assert fork(inside) == 0

    assert fork(outside) == 0


def test_hits_in_the_condition(programs: Programs, hot: Hot) -> None:
    third = Binary("eq", Binary("urem", Hits(), Const(3)), Const(0))
    with Tracee(lambda: hot(9)) as child, BreakpointSite(programs, PLACE, third) as site:
        site.attach(child.pid)
        child.release()
        status = child.stop()
        found = []
        while os.WIFSTOPPED(status):
            told = site.take_stop(child.pid)
            assert told is not None
            found.append((child.regs()[RBX], told.hit))
            status = child.run()
        assert found == [(2, 3), (5, 6), (8, 9)]


def test_nothing_is_left_open(hot: Hot) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    with Programs() as programs, Tracee(lambda: hot(1)) as child:
        collect = Collecting((Reg(RBX),), ring_size=4096)
        with BreakpointSite(programs, PLACE, EVEN, collect=collect) as site:
            site.attach(child.pid)
        child.release()
        child.stop()
    assert set(Path("/proc/self/fd").iterdir()) == before
