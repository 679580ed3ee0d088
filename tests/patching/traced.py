"""Processes under ptrace, as small as patching needs them."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import signal
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from relive import _core
from relive.arch import x86_64
from relive.conditions.inprocess.evaluator import Hit, InProcess, RingFull
from relive.tracee.maps import Mapping, read_maps
from relive.tracee.patching import Happened, Patcher, Registers, Trap, trap_pending

RAX, RDX, RSI, RDI, R8, R9, R10 = (
    x86_64.BY_NAME[n].index for n in ("rax", "rdx", "rsi", "rdi", "r8", "r9", "r10")
)
RIP: Final = x86_64.BY_NAME["rip"].index
RBX: Final = x86_64.BY_NAME["rbx"].index
ORIG_RAX: Final = x86_64.BY_NAME["orig_rax"].index

_CONT, _SINGLESTEP, _SYSCALL = 7, 9, 24
_SEIZE, _INTERRUPT, _GETSIGMASK, _SETSIGMASK, _DETACH = 0x4206, 0x4207, 0x420A, 0x420B, 17
_O_FORK, _O_VFORK, _O_CLONE, _O_EXEC, _O_EXITKILL = 2, 4, 8, 0x10, 0x100000
_EVENT_FORK, _EVENT_VFORK, _EVENT_CLONE, _EVENT_EXEC, _EVENT_STOP = 1, 2, 3, 4, 128
_WALL: Final = 0x40000000
_FAULTS: Final = (signal.SIGTRAP, signal.SIGSEGV, signal.SIGILL, signal.SIGBUS, signal.SIGFPE)
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request: int, tid: int, addr: int = 0, data: object = 0) -> int:
    result: int = _libc.ptrace(request, tid, addr, data)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


@dataclass
class Task:
    running: bool = False
    deliver: int = 0


@dataclass
class Process:
    """One address space: a relive.tracee.patching.Target."""

    pid: int
    tasks: dict[int, Task] = field(default_factory=dict)
    gate: int = 0
    """Where a syscall instruction is."""
    patcher: Patcher = field(init=False)
    evaluator: InProcess | None = None
    alive: bool = True
    status: int | None = None
    strays: int = 0
    hits: list[Hit] = field(default_factory=list)
    traps: list[Trap] = field(default_factory=list)
    on_hit: Callable[[int, Hit], None] | None = None
    on_full: Callable[[], None] | None = None
    on_site: Callable[[int, Trap], None] | None = None

    def __post_init__(self) -> None:
        self._mem = os.open(f"/proc/{self.pid}/mem", os.O_RDWR | os.O_CLOEXEC)
        self.patcher = Patcher(self)

    def reopen(self) -> None:
        """After exec."""
        os.close(self._mem)
        self._mem = os.open(f"/proc/{self.pid}/mem", os.O_RDWR | os.O_CLOEXEC)

    def close(self) -> None:
        if self._mem >= 0:
            os.close(self._mem)
            self._mem = -1

    def read(self, addr: int, size: int) -> bytes:
        data = os.pread(self._mem, size, addr)
        if len(data) != size:
            raise OSError(errno.EFAULT, f"{size} bytes at {addr:#x}")
        return data

    def write(self, addr: int, data: bytes) -> None:
        if os.pwrite(self._mem, data, addr) != len(data):
            raise OSError(errno.EFAULT, f"{len(data)} bytes at {addr:#x}")

    def maps(self) -> Sequence[Mapping]:
        return read_maps(self.pid)

    def threads(self) -> list[int]:
        return list(self.tasks)

    def get_registers(self, tid: int) -> tuple[int, ...]:
        regs: tuple[int, ...] = _core.getregs(tid)
        return regs

    def set_registers(self, tid: int, registers: Registers) -> None:
        _core.setregs(tid, list(registers))

    def usable(self, start: int, end: int) -> bool:
        del start, end
        return True

    def syscall(self, nr: int, *args: int) -> int:
        tid = min(
            (t for t, task in self.tasks.items() if not task.running),
            key=lambda t: self.tasks[t].deliver != 0,
        )
        before = self.get_registers(tid)
        regs = list(before)
        regs[RAX], regs[ORIG_RAX], regs[RIP] = nr, (1 << 64) - 1, self.gate
        for index, arg in zip((RDI, RSI, RDX, R10, R8, R9), args, strict=False):
            regs[index] = arg & (1 << 64) - 1
        mask = ctypes.create_string_buffer(8)
        _ptrace(_GETSIGMASK, tid, 8, ctypes.cast(mask, ctypes.c_void_p))
        every = ctypes.create_string_buffer(b"\xff" * 8, 8)
        _ptrace(_SETSIGMASK, tid, 8, ctypes.cast(every, ctypes.c_void_p))
        self.set_registers(tid, regs)
        while True:
            _ptrace(_SINGLESTEP, tid)
            _, status = os.waitpid(tid, _WALL)
            if not os.WIFSTOPPED(status):
                raise ProcessLookupError(errno.ESRCH, "killed in a remote call")
            if self.get_registers(tid)[RIP] == self.gate + 2:
                break
        result = self.get_registers(tid)[RAX]
        self.set_registers(tid, before)
        _ptrace(_SETSIGMASK, tid, 8, ctypes.cast(mask, ctypes.c_void_p))
        return result - (1 << 64) if result >> 63 else result

    # --- starting ---

    def make_gate(self) -> None:
        """Maps a page with a syscall instruction, by one written over the program for it."""
        tid = self.pid
        at = self.get_registers(tid)[RIP]
        saved = self.read(at, 2)
        self.write(at, x86_64.SYSCALL_INSTRUCTION)
        self.gate = at
        page = self.syscall(9, 0, 4096, 5, 0x22, -1, 0)
        self.write(at, saved)
        assert page > 0
        self.write(page, x86_64.SYSCALL_INSTRUCTION)
        self.gate = page


class Tracer:
    """Runs a program with all its tasks and children traced."""

    def __init__(
        self, argv: Sequence[str], *, stdout: int | None = None, env: dict[str, str] | None = None
    ) -> None:
        pid = os.fork()
        if not pid:
            try:
                if stdout is not None:
                    os.dup2(stdout, 1)
                os.kill(os.getpid(), signal.SIGSTOP)
                os.execve(argv[0], list(argv), dict(os.environ) if env is None else env)
            finally:
                os._exit(127)
        os.waitpid(pid, os.WUNTRACED)
        options = _O_FORK | _O_VFORK | _O_CLONE | _O_EXEC | _O_EXITKILL
        _ptrace(_SEIZE, pid, 0, options)
        os.kill(pid, signal.SIGCONT)
        self.main = Process(pid, {pid: Task(True)})
        self.processes = {pid: self.main}
        self.owner = {pid: self.main}
        self.on_fork: Callable[[Process, Process], None] | None = None
        self._early: dict[int, int] = {}
        self.holding = False
        """Set while a stop is dealt with: do not resume the task."""
        while True:
            _, status = os.waitpid(pid, _WALL)
            assert os.WIFSTOPPED(status), status
            if status >> 16 == _EVENT_EXEC:
                break
            _ptrace(_CONT, pid)
        self._leave_call(pid)
        self.main.tasks[pid].running = False
        self.main.reopen()
        self.main.make_gate()

    def __enter__(self) -> Tracer:
        return self

    def __exit__(self, *what: object) -> None:
        for process in self.processes.values():
            if process.alive:
                try:
                    os.kill(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        deadline = time.monotonic() + 5
        for tid in list(self.owner):
            while time.monotonic() < deadline:
                try:
                    got, status = os.waitpid(tid, _WALL | os.WNOHANG)
                except ChildProcessError:
                    break
                if got and not os.WIFSTOPPED(status):
                    break
                time.sleep(0.0005)
        for process in self.processes.values():
            process.close()

    # --- running ---

    def step_event(self, timeout: float = 30.0, *, resume: bool = True) -> bool:
        """Deals with the next stop of any task; False when nobody is left."""
        deadline = time.monotonic() + timeout
        wait = 0.0
        while True:
            if not self.owner:
                return False
            tid, status = os.waitpid(-1, _WALL | os.WNOHANG) if wait else (0, 0)
            if not tid:
                tid, status = os.waitpid(-1, _WALL | os.WNOHANG)
            if tid:
                if tid in self.owner or os.WIFSTOPPED(status):
                    break
                continue
            assert time.monotonic() < deadline, "nothing happens"
            time.sleep(wait)
            wait = 0.0001
        self._stopped(tid, status, resume)
        return True

    def poll(self) -> None:
        """Deals with a stop if there is one."""
        tid, status = os.waitpid(-1, _WALL | os.WNOHANG)
        if tid:
            self._stopped(tid, status, True)
        else:
            time.sleep(0.0001)

    def run(self, until: Callable[[], bool] | None = None, timeout: float = 60.0) -> None:
        """Lets everything run to the end, or until the predicate holds after a stop."""
        deadline = time.monotonic() + timeout
        self.holding = False
        self.resume()
        while self.owner:
            assert time.monotonic() < deadline, "it takes too long"
            if not self.step_event(timeout):
                return
            if until is not None and until():
                return

    def stop(self) -> None:
        """All tasks into ptrace stops."""
        for tid, process in list(self.owner.items()):
            if tid in process.tasks and process.tasks[tid].running:
                try:
                    _ptrace(_INTERRUPT, tid)
                except ProcessLookupError:
                    pass
        while True:
            while any(t.running for p in self.processes.values() for t in p.tasks.values()):
                self.step_event(resume=False)
            late = [
                (process, tid)
                for process in self.processes.values()
                for tid, task in process.tasks.items()
                if not task.deliver and trap_pending(tid)
            ]
            if not late:
                return
            for process, tid in late:
                self._cont(process, tid)

    def resume(self) -> None:
        for process in self.processes.values():
            for tid in list(process.tasks):
                self._cont(process, tid)

    def _cont(self, process: Process, tid: int) -> None:
        task = process.tasks[tid]
        if task.running:
            return
        deliver, task.deliver = task.deliver, 0
        task.running = True
        try:
            _ptrace(_CONT, tid, 0, deliver)
        except ProcessLookupError:
            pass

    def _leave_call(self, tid: int) -> None:
        """From an event inside a system call to its exit: before that, rax is not settled."""
        _ptrace(_SYSCALL, tid)
        while True:
            _, status = os.waitpid(tid, _WALL)
            assert os.WIFSTOPPED(status), "killed"
            if os.WSTOPSIG(status) == signal.SIGTRAP and not status >> 16:
                return
            _ptrace(_SYSCALL, tid)

    def _gone(self, tid: int, status: int) -> None:
        process = self.owner.pop(tid)
        process.tasks.pop(tid, None)
        if tid == process.pid:
            process.status = status
        if not process.tasks:
            process.alive = False

    def _stopped(self, tid: int, status: int, resume: bool) -> None:
        if not os.WIFSTOPPED(status):
            if tid in self.owner:
                self._gone(tid, status)
            return
        if tid not in self.owner:
            self._early[tid] = status
            return
        process = self.owner[tid]
        task = process.tasks[tid]
        task.running = False
        event, sig = status >> 16, os.WSTOPSIG(status)
        if event in (_EVENT_CLONE, _EVENT_FORK, _EVENT_VFORK):
            new = _core.event_message(tid)
            if event != _EVENT_VFORK:
                self._leave_call(tid)
            self._born(process, new, event, resume)
        elif event:
            pass
        else:
            task.deliver = self._signal(process, tid, sig)
            if task.deliver and process.evaluator is not None:
                process.evaluator.before_signal(tid)
        if resume and not self.holding:
            self._cont(process, tid)

    def _born(self, parent: Process, new: int, event: int, resume: bool) -> None:
        if new in self._early:
            del self._early[new]
        else:
            os.waitpid(new, _WALL)
        with open(f"/proc/{new}/status", encoding="ascii", errors="replace") as f:
            group = next(int(line.split()[1]) for line in f if line.startswith("Tgid:"))
        if event != _EVENT_FORK:  # (a vfork child is one more task of the same memory)
            process = parent
            process.tasks[new] = Task()
            self.owner[new] = process
            if process.evaluator is not None:
                process.evaluator.several_tasks(True)
        else:
            assert group == new
            process = Process(new, {new: Task()}, parent.gate)
            process.patcher = parent.patcher.fork(process)
            self.processes[new] = process
            self.owner[new] = process
            if self.on_fork is not None:
                self.on_fork(parent, process)
        if resume:
            self._cont(process, new)

    def _signal(self, process: Process, tid: int, sig: int) -> int:
        if sig not in _FAULTS:
            return sig
        code = struct.unpack_from("<iii", _core.siginfo(tid))[2]
        if code <= 0:
            return sig
        trap = process.patcher.resolve(tid, sig)
        if trap is None:
            return sig
        if trap.what is Happened.DISPLACED:
            return sig
        if trap.what is Happened.STRAY:
            process.strays += 1
            return 0
        process.traps.append(trap)
        if trap.what is Happened.SITE and process.evaluator is None:
            if process.on_site is not None:
                process.on_site(tid, trap)
            regs = list(process.get_registers(tid))
            regs[RIP] = trap.patch.resume
            process.set_registers(tid, regs)
            return 0
        if process.evaluator is not None:
            what = process.evaluator.trap(tid, trap)
            if isinstance(what, Hit):
                process.hits.append(what)
                if process.on_hit is not None:
                    process.on_hit(tid, what)
            elif isinstance(what, RingFull):
                process.traps.pop()
                assert process.on_full is not None, "a ring is full"
                process.on_full()
        return 0


@functools.lru_cache
def symbols(path: str, *kinds: str) -> dict[str, tuple[int, int]]:
    """(value, size) of a file's functions, or of what else is asked for."""
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    found: dict[str, tuple[int, int]] = {}
    with open(path, "rb") as f:
        for section in ELFFile(f).iter_sections():
            if isinstance(section, SymbolTableSection):
                for symbol in section.iter_symbols():
                    if symbol["st_info"]["type"] in (kinds or ("STT_FUNC", "STT_GNU_IFUNC")):
                        size = symbol["st_size"]
                        if symbol["st_value"] and (size or kinds):
                            found[symbol.name] = (symbol["st_value"], size)
    return found


def base_of(process: Process, name: str) -> int:
    """Where a file is mapped: its first mapping, less its offset."""
    for m in process.maps():
        if m.name.endswith(name):
            return m.start - m.offset
    raise KeyError(name)
