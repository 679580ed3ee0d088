"""The mechanism that runs per stop: ptrace, the event log, recording and replaying."""

from collections.abc import Sequence
from typing import Any

from _typeshed import ReadableBuffer

AGENT_TEXT: int
AGENT_VSYSCALLS: int
AGENT_DATA: int
AGENT_SIZE: int
NREGS: int

WHY_NOTHING_LEFT: int
WHY_ENTRY: int
WHY_EXIT: int
WHY_SIGNAL: int
WHY_EVENT: int
WHY_GONE: int
WHY_REFUSED: int
WHY_STEPPED: int
WHY_WRITTEN: int
WHY_OPENED: int
WHY_NEW_TASK: int
WHY_INTERRUPTED: int
WHY_LANDMARK: int
WHY_ERROR: int

SIGNAL_AT_BOUNDARY: int
SIGNAL_SYNC: int
SIGNAL_IN_USER: int

RP_NEED_CHUNK: int
RP_CALL: int
RP_EVENT: int
RP_DIVERGED: int
RP_BAD_LOG: int
RP_ERROR: int
RP_STOPPED: int

DIV_REGS: int
DIV_CALL: int
DIV_INPUT: int
DIV_STOP: int
DIV_GONE: int
DIV_MEMORY: int
DIV_INSTRUCTION: int
DIV_NO_TASK: int
DIV_LANDMARK: int
DIV_LOST: int

Registers = tuple[int, ...]

def getregs(tid: int, /) -> Registers:
    """The 27 registers of a stopped task, in user_regs_struct's order. Raises OSError."""

def setregs(tid: int, registers: Sequence[int], /) -> None:
    """Sets all 27. Raises OSError."""

def remote(tid: int, nr: int, /, *args: int) -> int:
    """A system call made by the stopped task at the agent's instruction; its raw result.

    The task must not be at a system call's entry. Raises OSError when it dies.
    """

def resume(tid: int, request: int, signal: int = 0, /) -> None:
    """ptrace(request): PTRACE_CONT, PTRACE_SYSCALL, PTRACE_SINGLESTEP, ... Raises OSError."""

def wait(tid: int, flags: int = 0, /) -> tuple[int, int]:
    """waitpid with __WALL: (tid, wait status). Raises OSError."""

def event_message(tid: int, /) -> int:
    """PTRACE_GETEVENTMSG. Raises OSError."""

def siginfo(tid: int, /) -> bytes:
    """siginfo_t of a signal-delivery-stop. Raises OSError."""

def peek(tid: int, address: int, /) -> int:
    """One word of memory, whatever its protection. Raises OSError."""

def poke(tid: int, address: int, word: int, /) -> None:
    """Writes one word, whatever the page's protection. Raises OSError."""

def digest64(data: bytes, seed: int = 0, /) -> int:
    """The 64-bit digest of the recording format (relive.trace.digest is its twin)."""

def ring_take(
    memory: ReadableBuffer,
    offset: int,
    size: int,
    position: int,
    sizes: ReadableBuffer,
    limit: int,
    /,
) -> tuple[bytes, int]: ...
def find_vsyscalls(code: bytes, /) -> list[int]:
    """Where the immediate operand of a `mov` to a register is the address of a vsyscall
    (0xffffffffff600000, ...600400 or ...600800)."""

def digest_memory(tid: int, fd: int, start: int, length: int, scan: bool = True, /) -> int:
    """A digest of the pages of a private mapping that are the process's own (/proc/PID/pagemap).

    fd: its /proc/PID/mem; scan: by PAGEMAP_SCAN where the kernel has it (ioctl(2), PAGEMAP_SCAN).
    Pages of zeros count for nothing. Raises OSError."""

def digest_contents(fd: int, start: int, length: int, /) -> int:
    """A digest of all pages of a mapping, whether they are a file's or the process's own.

    fd: /proc/PID/mem; start: a page's. Pages of zeros, or that can't be read, count for nothing."""

def rewind_memory(tid: int, fd: int, copy_fd: int, start: int, length: int, /) -> int:
    """Makes the pages of a private mapping that are the process's own equal to a copy's; how many
    differed. fd, copy_fd: /proc/PID/mem of both. Pages that the copy lacks become zeros.

    Raises OSError."""

def get_xstate(tid: int, /) -> bytes:
    """The extended state as PTRACE_GETREGSET(NT_X86_XSTATE) gives it. Raises OSError."""

def set_xstate(tid: int, area: bytes, /) -> None:
    """Sets it. Raises OSError."""

def xsavec_layout(mask: int, /) -> tuple[int, int]:
    """(bytes, supported components) of a compacted XSAVE area (Intel SDM vol. 1, 13.4.3)."""

class Recorder:
    """The recording loop. All its methods but next_chunk belong to one thread."""

    def spawn(
        self, path: bytes, argv: Sequence[bytes], env: Sequence[bytes], cpu: int, /
    ) -> int: ...
    def run(self) -> tuple[int, int, int, int]: ...
    def add_task(self, serial: int, tid: int, tgid: int, mm: int, /) -> None: ...
    def drop_task(self, serial: int, /) -> None: ...
    def set_mm(self, serial: int, mm: int, /) -> None: ...
    def set_shares(self, serial: int, on: bool, /) -> None: ...
    def set_tid(self, serial: int, tid: int, tgid: int, /) -> None: ...
    def flag(self, serial: int, name: str, on: bool, /) -> None: ...
    def take_stranger(self, tid: int, /) -> int | None: ...
    def set_status(self, serial: int, status: int, /) -> None: ...
    def set_blocked(self, serial: int, /) -> None: ...
    def resume_with(self, serial: int, signal: int, step: bool = False, /) -> None: ...
    def stash(self, serial: int, signal: int, /) -> None: ...
    def landmark(self, serial: int, signal: int, /) -> bool: ...
    def skip(self, serial: int, result: int, /) -> None: ...
    def set_result(self, serial: int, result: int, /) -> None: ...
    def set_args(self, serial: int, args: tuple[int, ...], /) -> None: ...
    def call_regs(self, serial: int, /) -> Registers: ...
    def attach(self, serial: int, extra: bytes, /) -> None: ...
    def out(self, serial: int, address: int, length: int, /) -> None: ...
    def log_entry(self, serial: int, /) -> None: ...
    def call_over(self, serial: int, /) -> None: ...
    def finish_call(self, serial: int, /) -> None: ...
    def emit(
        self,
        kind: int,
        flags: int,
        nr: int,
        serial: int,
        regs: Sequence[int] | None,
        result: int | None,
        regions: Sequence[tuple[int, int | bytes]],
        extra: str | None,
        /,
    ) -> None: ...
    def read(self, serial: int, address: int, length: int, /) -> bytes: ...
    def write(self, serial: int, address: int, data: bytes, /) -> None: ...
    def mem_fd(self, serial: int, /) -> int: ...
    def scratch(self, serial: int, /) -> tuple[int, int]: ...
    def remote(
        self,
        serial: int,
        nr: int,
        a: int,
        b: int,
        c: int,
        d: int,
        e: int,
        f: int,
        instruction: int = ...,
        /,
    ) -> int: ...
    def add_echo(self, fd: int, bit: int, /) -> bool: ...
    def is_echo(self, serial: int, fd: int, /) -> int: ...
    def watch_writes(self, on: bool, /) -> None: ...
    def chaos(self, seed: int, /) -> None: ...
    def set_slice(self, ns: int, /) -> None: ...
    def verify(self, level: int, /) -> None: ...
    def next_chunk(self, timeout_ms: int, /) -> tuple[bytes, int] | None: ...
    def close_log(self) -> None: ...
    def discard_log(self) -> None: ...
    def stats(self) -> dict[str, int]: ...

class Replayer:
    """The replay loop. Belongs to one thread."""

    def spawn(self, agent_path: bytes, cpu: int, /) -> int: ...
    def feed(self, chunk: bytes, first_event: int, /) -> None: ...
    def run(self) -> tuple[int, int, int]: ...
    def finish_call(self) -> tuple[int, int, int]: ...
    def next(self) -> None: ...
    def event(self) -> tuple[int, int, int, int, int, int, bytes, bytes]: ...
    def logged_regs(self, serial: int, /) -> Registers: ...
    def call_regs(self, serial: int, /) -> Registers: ...
    def begin_call(self, serial: int, nr: int, /) -> None: ...
    def divergence(self) -> tuple[int, int, int, int, int]: ...
    def add_task(self, serial: int, tid: int, /) -> None: ...
    def renew(self, serial: int, tid: int, /) -> None: ...
    def drop_task(self, serial: int, /) -> None: ...
    def mem_fd(self, serial: int, /) -> int: ...
    def apply(self, serial: int, blob: bytes, /) -> None: ...
    def set_output(
        self, stdout: int, stderr: int, stdout_skip: int = 0, stderr_skip: int = 0, /
    ) -> None:
        """Where the program's output goes, -1 for nowhere; the first bytes of it are left out."""

    def echoed(self) -> tuple[int, int]:
        """Bytes written to stdout and stderr so far, those left out included."""

    def patience(self, factor: int, ms: int = 20000, /) -> tuple[int, int]:
        """Processor time that an interval may take from now on before its task counts as lost:
        `factor` times its recorded time, and so many milliseconds besides.  What they were until
        now.  A search raises the factor for evaluators that are slow, unless it is 0."""

    def interval_ms(self) -> int:
        """How long (ms) the interval before the event at hand took at most when it was recorded."""

    def lost(self) -> int:
        """The processor time (ns) after which the last stop was made, because the task came to
        none by itself; else 0."""

    def settle(self, serial: int, /) -> None:
        """Rewinds to a call that is made again, as resuming would. Raises OSError."""

    def advance(self, serial: int, /) -> int:
        """Runs the task to its next stop; its calls are not executed. The wait status.

        Raises OSError, and what handlers of signals raise."""

    def run_for(self, serial: int, ns: int, /) -> int | None:
        """Lets the task run for about so much processor time; the wait status of another stop that
        came before.  Raises OSError, and what handlers of signals raise."""

    def search(
        self, serial: int, words: bytes, compare: bool, limit: int, /
    ) -> tuple[int, int, int]: ...
    def number(self) -> int: ...
    def hit_at_once(self, serial: int, address: int, /) -> None: ...
    def sample_word(self, address: int, /) -> int | None: ...
    def hw_break(self, serial: int, address: int, /) -> None: ...
    def compare_sample(
        self, serial: int, most: int, /
    ) -> tuple[int, int, int, list[tuple[int, int]]]: ...
    def compare_xstate(self, serial: int, most: int, /) -> list[tuple[int, int, int]]: ...
    def stop_at(self, event: int, /) -> None: ...

LIVE_HIT: int
LIVE_FORK: int
LIVE_EXEC: int
LIVE_EXIT: int
LIVE_DRAIN: int
LIVE_TRAP: int
LIVE_THREAD: int
LIVE_EMPTY: int

class Live:
    """Live programs under breakpoints. Belongs to one thread, the tracer; see relive.live."""

    def __init__(
        self,
        follow: bool = False,
        one_core: bool = True,
        ring: int = 1 << 20,
    ) -> None: ...
    def close(self) -> None: ...
    def attach(self, pid: int, /) -> int: ...
    def start(
        self, path: bytes, argv: Sequence[bytes], envp: Sequence[bytes], group: int = 0, /
    ) -> tuple[int, int]: ...
    # The events differ in length: their first item says which one it is.
    def run(self, timeout_ms: int = -1, /) -> tuple[Any, ...] | None: ...
    def resume(self, tid: int, signal: int = 0, /) -> None: ...
    def pause(self) -> None: ...
    def unpause(self) -> None: ...
    def settle(self) -> tuple[Any, ...] | None: ...
    def detach(self, space: int = 0, stopped: bool = False, /) -> None: ...
    def call(self, tid: int, nr: int, /, *args: int) -> int: ...
    def set_gadget(self, space: int, address: int, /) -> None: ...
    def arm(
        self,
        space: int,
        kind: int,
        address: int,
        length: int,
        when: tuple[bytes, int] | None,
        reports: bool,
        stop_at: int,
        collect: Sequence[tuple[bytes, int]],
        emulate: bool,
        slot: int,
        slot_length: int,
        code_length: int,
        /,
    ) -> int: ...
    def disarm(self, site: int, /) -> tuple[int, int, int, int]: ...
    def counts(self, site: int, /) -> tuple[int, int, int, int]: ...
    def drain(self) -> bytes: ...
    def read(self, space: int, address: int, size: int, /) -> bytes: ...
    def write(self, space: int, address: int, data: bytes, /) -> None: ...
    def tasks(self) -> list[tuple[int, int, int, bool]]: ...
    def report(self, forks: bool, threads: bool, /) -> None: ...
    def foreign(
        self, signals: int, traps: Sequence[int], ranges: Sequence[tuple[int, int]], /
    ) -> None: ...
    def guard(self, space: int, address: int, patched: bytes, original: bytes, /) -> int: ...
    def unguard(self, entry: int, /) -> None: ...
    def guardian_pid(self) -> int: ...

def condition(
    code: tuple[bytes, int], registers: Sequence[int], pid: int, hits: int, /
) -> tuple[int, int, int]:
    """(outcome, value, address of the load that failed) of a supervisor condition."""

def emulate(
    code: bytes, address: int, registers: Sequence[int], pid: int, /
) -> tuple[int, Registers] | None:
    """(length, registers afterwards) of an instruction, None when it is not emulated."""

def emulated_length(code: bytes, /) -> int:
    """Bytes of the instruction if it can be emulated, else 0."""
