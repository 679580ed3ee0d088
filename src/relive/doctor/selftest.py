"""`relive doctor --selftest`: the kernel keeps what the kernel evaluator relies on.

Proved on the running machine, each time anew, with a loop of known machine code in a traced
child:

- a hit that a program rejects gives no sample, no signal of the file descriptor and no SIGTRAP,
  and is not charged to the limit set by PERF_EVENT_IOC_REFRESH (Linux 6.10; before, it
  suppressed the sample only);
- one that it accepts gives exactly one of each, the SIGTRAP with si_code TRAP_PERF and the
  event's cookie, and is charged;
- every way of stopping stops at the address and at the right execution of it, 1000 of 1000.

A probe is "no" when the kernel does something else, and "note" when the facility is missing or
not permitted, so that there was nothing to prove.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import tempfile
from typing import TYPE_CHECKING, Final, NamedTuple

from relive.arch import x86_64
from relive.conditions import ir
from relive.conditions.errors import ConditionError
from relive.conditions.kernel import layout, machine, perf, uprobe
from relive.conditions.kernel.counting import CountingSite, Plan
from relive.conditions.kernel.programs import Programs
from relive.conditions.kernel.samples import Samples
from relive.conditions.kernel.site import BreakpointSite, Notify, UprobeSite
from relive.doctor import kernel
from relive.doctor.child import Child
from relive.doctor.finding import Finding, Probe
from relive.doctor.isolate import explain

if TYPE_CHECKING:
    from collections.abc import Callable

#: loop(n in rdi, word in rsi): rbx counts from 0 to n - 1
LOOP: Final = bytes.fromhex(
    "53"  # push rbx
    "31db"  # xor ebx, ebx
    "4883c301"  # 1: add rbx, 1     <- SITE
    "48891e"  # mov [rsi], rbx
    "4839fb"  # cmp rbx, rdi
    "72f4"  # jb 1b                 <- BRANCH
    "5b"  # pop rbx
    "c3"  # ret
)
SITE: Final = 3
BRANCH: Final = 13
#: where in the code's page a system-call instruction is
GATE: Final = 256

STOPS: Final = 1000
#: one execution in EVERY is to stop
EVERY: Final = 3
#: what is told by the file descriptor where SIGSTOP is not the point
TOLD: Final = signal.SIGUSR1

RBX: Final = x86_64.BY_NAME["rbx"].index
RIP: Final = x86_64.BY_NAME[x86_64.INSTRUCTION_POINTER].index
FLAGS: Final = x86_64.BY_NAME[x86_64.FLAGS].index
DEBUG_REGISTERS: Final = 848  # offsetof(struct user, u_debugreg), <sys/user.h>

PTRACE_PEEKTEXT: Final = 1
PTRACE_POKETEXT: Final = 4
PTRACE_POKEUSER: Final = 6
PTRACE_SINGLESTEP: Final = 9
PTRACE_SETREGS: Final = 13

THIRD: Final = ir.Binary("eq", ir.Binary("urem", ir.Reg(RBX), ir.Const(EVERY)), ir.Const(0))


class Missing(Exception):
    """What a probe needs is not here, or not permitted: str() says what."""


class Loop(Child):
    """A traced child, on this process's core, that runs LOOP `n` times when released.

    in_file: the code is a file's mapping.  announced: it stops just before it begins.
    page: the code's; place: address of LOOP.
    """

    def __init__(self, n: int, *, in_file: bool = False, announced: bool = False) -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        before = x86_64.BREAKPOINT_INSTRUCTION if announced else b""
        code = (before + LOOP).ljust(GATE, x86_64.BREAKPOINT_INSTRUCTION)
        code += x86_64.SYSCALL_INSTRUCTION
        self.page = _file_code(code) if in_file else _anonymous_code(code)
        self.place = self.page + len(before)
        word = ctypes.c_uint64()
        function = ctypes.CFUNCTYPE(None, ctypes.c_uint64, ctypes.c_void_p)(self.page)

        def body() -> int:
            function(n, ctypes.addressof(word))
            return 0

        super().__init__(body)
        self.seize()

    def run(self) -> int:
        """Go on without the signal, to the next stop or the end; the wait status."""
        self.resume()
        return self.wait()

    def regs(self) -> list[int]:
        """The 27 registers."""
        words = (ctypes.c_uint64 * len(x86_64.REGISTERS))()
        kernel.ptrace("ptrace(PTRACE_GETREGS)", kernel.PTRACE_GETREGS, self.pid, data=words)
        return list(words)

    def set_regs(self, regs: list[int]) -> None:
        """Set them."""
        words = (ctypes.c_uint64 * len(regs))(*regs)
        kernel.ptrace("ptrace(PTRACE_SETREGS)", PTRACE_SETREGS, self.pid, data=words)

    def info(self) -> bytes:
        """siginfo of the stop."""
        data = ctypes.create_string_buffer(128)
        kernel.ptrace("ptrace(PTRACE_GETSIGINFO)", kernel.PTRACE_GETSIGINFO, self.pid, data=data)
        return data.raw


_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]  # fmt: skip


def _map(protection: int, flags: int, fd: int) -> int:
    address = _libc.mmap(None, mmap.PAGESIZE, protection, flags, fd, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        raise kernel.fail("mmap")
    assert isinstance(address, int)
    return address


def _anonymous_code(code: bytes) -> int:
    every = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    address = _map(every, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1)
    ctypes.memmove(address, code, len(code))
    return address


def _file_code(code: bytes) -> int:
    with tempfile.NamedTemporaryFile(prefix="relive-selftest-") as file:
        file.write(code.ljust(mmap.PAGESIZE, b"\0"))
        file.flush()
        try:
            return _map(mmap.PROT_READ | mmap.PROT_EXEC, mmap.MAP_PRIVATE, file.fileno())
        except PermissionError:
            where = os.path.dirname(file.name)
            raise Missing(f"{where} is on a file system mounted noexec") from None


# ------------------------------------------------------------------ rejected, accepted


class Seen(NamedTuple):
    """What came of LOOP's executions.

    counted: hits by the event.  decided: hits by the program.
    """

    samples: int
    signals: int
    traps: int
    counted: int
    decided: int


def _needs_programs() -> None:
    # This process itself: the helper is not what is to be proved.
    why = machine.breakpoints_missing() or machine.programs_missing()
    if why:
        raise Missing(why)


def _watch(n: int, condition: ir.Expr, *, sigtrap: bool, refresh: int = 0) -> Seen:
    """Run LOOP n times with samples, and with SIGTRAP or the signal of the descriptor."""
    signals = traps = 0
    with Programs() as programs, Loop(n) as loop:
        site = BreakpointSite(programs, loop.place + SITE, condition)
        event = perf.Event.breakpoint(
            loop.pid,
            loop.place + SITE,
            sigtrap=sigtrap,
            cookie=site.cookie,
            samples=perf.SampleFields(registers=False),
        )
        with site, event, Samples(event, 32) as samples:
            if not sigtrap:
                event.signal_by_fd(TOLD)
            event.set_program(site.program.fd)
            if refresh:
                event.refresh(refresh)
            else:
                event.enable()
            loop.release()
            while os.WIFSTOPPED(status := loop.wait()):
                info = loop.info()
                number = os.WSTOPSIG(status)
                if number == signal.SIGTRAP and perf.trap_cookie(info) == site.cookie:
                    traps += 1
                elif number == TOLD and perf.signal_fd(info) == event.fd:
                    signals += 1
                else:
                    raise OSError(0, f"an unexpected signal {number} came", "selftest")
                loop.resume()
            taken = len(samples.drain())
            hits = site.program.values[layout.HITS]
            return Seen(taken, signals, traps, event.count(), hits)


def rejected_hits() -> Finding:
    _needs_programs()
    n = STOPS
    for sigtrap in (False, True):
        seen = _watch(n, ir.FALSE, sigtrap=sigtrap)
        if seen.counted != n or seen.decided != n:
            return Finding(
                "no", f"of {n} hits the event counted {seen.counted}, the program {seen.decided}"
            )
        for count, what in (
            (seen.samples, "samples"),
            (seen.signals, "signals of the file descriptor"),
            (seen.traps, "SIGTRAPs"),
        ):
            if count:
                return Finding("no", f"{n} rejected hits gave {count} {what}", _newer())
    return Finding("yes", f"{n} rejected hits: no sample, no fd signal, no SIGTRAP")


def accepted_hits() -> Finding:
    _needs_programs()
    n = STOPS
    for sigtrap in (False, True):
        seen = _watch(n, ir.TRUE, sigtrap=sigtrap)
        expected = Seen(n, 0 if sigtrap else n, n if sigtrap else 0, n, n)
        if seen != expected:
            return Finding("no", f"{n} accepted hits gave {seen}, not {expected}")
    return Finding("yes", f"{n} accepted hits: one sample, one fd signal, one SIGTRAP (TRAP_PERF)")


def refresh_limit() -> Finding:
    _needs_programs()
    limit = 3
    last = ir.Binary("ule", ir.Const(STOPS - limit), ir.Reg(RBX))
    seen = _watch(STOPS, last, sigtrap=False, refresh=limit)
    if (seen.signals, seen.counted) != (limit, STOPS):
        return Finding(
            "no",
            f"with a limit of {limit}, {STOPS} hits of which the last {limit} were accepted gave"
            f" {seen.signals} signals, and {seen.counted} were counted",
            _newer(),
        )
    seen = _watch(STOPS, ir.TRUE, sigtrap=False, refresh=limit)
    if (seen.signals, seen.counted) != (limit, limit):
        return Finding("no", f"a limit of {limit} let {seen.signals} of {seen.counted} through")
    return Finding("yes", "rejected hits are not charged to it, accepted ones are")


def _newer() -> str:
    return "Linux 6.10 or later; until then hits are told by bpf_send_signal_thread"


# --------------------------------------------------------------------------- precision


def _precise(loop: Loop, take: Callable[[], bool], at: int = SITE) -> Finding:
    """Every stop of a loop that `take` accepts must be at the address in round 0, 3, 6...

    take: whether the stop is one of the evaluator under test and its candidate; it may step.
    at: offset of the instruction at which the task must stand.
    """
    good = stops = 0
    while os.WIFSTOPPED(loop.wait()):
        regs = loop.regs()
        if take():
            stops += 1
            expected = (stops - 1) * EVERY
            good += (regs[RIP], regs[RBX]) == (loop.place + at, expected)
        loop.resume()
    if good == stops == STOPS:
        return Finding("yes", f"{good} of {STOPS} stops exactly at the address")
    return Finding("no", f"{good} of {stops} stops at the address, of {STOPS} expected")


def _breakpoint(notify: Notify) -> Callable[[], Finding]:
    def probe() -> Finding:
        _needs_programs()
        if notify is not Notify.PROGRAM and not machine.suppresses():
            raise Missing("a rejected hit is told all the same: " + _newer())
        with (
            Programs() as programs,
            Loop(STOPS * EVERY) as loop,
            BreakpointSite(programs, loop.place + SITE, THIRD, notify=notify) as site,
        ):
            site.attach(loop.pid)
            loop.release()
            found = _precise(loop, lambda: site.take_stop(loop.pid) is not None)
            counts = site.counts()
        if found.status == "yes" and (counts.hits, counts.candidates) != (STOPS * EVERY, STOPS):
            return Finding("no", f"the program counted {counts}")
        return found

    return probe


def uprobe_precision() -> Finding:
    why = uprobe.missing() or machine.programs_missing()
    if why:
        raise Missing(why)
    # At the branch rbx has been increased already.
    condition = ir.Binary("eq", ir.Binary("urem", ir.Reg(RBX), ir.Const(EVERY)), ir.Const(1))
    with (
        Programs() as programs,
        Loop(STOPS * EVERY, in_file=True) as loop,
        UprobeSite(programs, loop.pid, loop.place + BRANCH, LOOP[BRANCH:], condition) as site,
    ):
        site.attach()
        loop.release()
        good = stops = 0
        while os.WIFSTOPPED(loop.wait()):
            told = site.take_stop(loop.pid)
            regs = loop.regs()
            good += (
                told is not None
                and told.hit == 1 + stops * EVERY
                and regs[RIP] == loop.place + SITE  # after the branch, which is taken
                and regs[RBX] == 1 + stops * EVERY
            )
            stops += 1
            loop.resume()
        hits = site.counts().hits
    if (good, stops, hits) == (STOPS, STOPS, STOPS * EVERY):
        return Finding("yes", f"{good} of {STOPS} stops right after the instruction")
    return Finding("no", f"{good} of {stops} stops in place, of {STOPS} expected, {hits} hits")


def counting_precision() -> Finding:
    why = machine.breakpoints_missing()
    if why:
        raise Missing(why)
    with (
        Loop(STOPS * EVERY) as loop,
        CountingSite(loop.pid, loop.place + SITE, Plan(1, EVERY)) as site,
    ):
        loop.release()
        return _precise(
            loop, lambda: perf.trap_cookie(loop.info()) == site.cookie and site.take_stop() > 0
        )


def int3_precision() -> Finding:
    """The supervisor's way, int3: stop, decide, put the byte back, step, insert again."""
    with Loop(STOPS * EVERY) as loop:
        at = loop.place + SITE
        original = int.from_bytes(LOOP[SITE : SITE + 8], "little")
        broken = original & ~0xFF | x86_64.BREAKPOINT_INSTRUCTION[0]

        def poke(word: int) -> None:
            kernel.ptrace("ptrace(PTRACE_POKETEXT)", PTRACE_POKETEXT, loop.pid, at, word)

        def take() -> bool:
            regs = loop.regs()
            regs[RIP] -= 1
            loop.set_regs(regs)
            poke(original)
            loop.resume(PTRACE_SINGLESTEP)
            loop.wait()
            poke(broken)
            return regs[RBX] % EVERY == 0

        loop.interrupt()
        poke(broken)
        loop.resume()
        loop.release()
        # The registers are read before `take` corrects rip.
        return _precise(loop, take, SITE + 1)


def dr7_precision() -> Finding:
    """The supervisor's way with the debug registers."""
    with Loop(STOPS * EVERY) as loop:
        loop.interrupt()
        for number, value in ((0, loop.place + SITE), (7, 1)):
            kernel.ptrace(
                "ptrace(PTRACE_POKEUSER)",
                PTRACE_POKEUSER,
                loop.pid,
                DEBUG_REGISTERS + 8 * number,
                value,
            )
        loop.resume()
        loop.release()
        return _precise(loop, lambda: loop.regs()[RBX] % EVERY == 0)


def in_process_precision() -> Finding:
    try:
        from relive.doctor import inprocess
    except ImportError as error:
        raise Missing(str(error)) from None
    return inprocess.precision()


def _proof(name: str, use: str, run: Callable[[], Finding]) -> Probe:
    def guarded() -> Finding:
        try:
            return run()
        except Missing as missing:
            return Finding("note", f"not tried: {missing}")
        except ConditionError as error:
            return Finding("note", f"not tried: {error.message}", error.hint)
        except OSError as error:
            return Finding("no", explain(error))

    return Probe(name, use, guarded)


PROOFS: Final = (
    _proof("rejected hit", "nothing is told of it", rejected_hits),
    _proof("accepted hit", "it is told once", accepted_hits),
    _proof("refresh limit", "counts what is told only", refresh_limit),
    _proof("supervisor, int3", "stops exactly there", int3_precision),
    _proof("supervisor, DR7", "stops exactly there", dr7_precision),
    _proof("kernel, SIGTRAP", "stops exactly there", _breakpoint(Notify.SIGTRAP)),
    _proof("kernel, fd signal", "stops exactly there", _breakpoint(Notify.FD)),
    _proof("kernel, by program", "stops exactly there", _breakpoint(Notify.PROGRAM)),
    _proof("kernel, counting", "stops exactly there", counting_precision),
    _proof("kernel, uprobe", "stops right after the instruction", uprobe_precision),
    _proof("in-process", "stops exactly there", in_process_precision),
)
