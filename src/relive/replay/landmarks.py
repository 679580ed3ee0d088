"""Finding asynchronous events again, in the process itself.

The recorded instruction pointer is patched with a jump to a stub that compares
registers and memory words with the recorded ones at about 2 ns a hit. A hit that
passes is a candidate: it stops, and the whole landmark is compared. What differs
is added to the stub's condition (refinement), and the search goes on from there.

The stub keeps what it needs beside itself, never on the program's stack: bytes
below the stack pointer are dead, but a later frame may lie on them, and a later
landmark may sample it. One task runs at a time, so one set of slots is enough.
The jump is in place only while a search is on: at its end the original bytes are put
back. The stub stays, so that the next landmark at the same place (a timer in a tight
loop) costs two writes.
"""

from __future__ import annotations

import os
import signal
import struct
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from relive import _core
from relive.arch import x86_64
from relive.replay.statistics import Found
from relive.tracee.maps import Mapping, read_maps
from relive.tracee.patching.arenas import Arenas
from relive.tracee.patching.patcher import CannotPatch, Happened, Patch, Patcher, Request
from relive.tracee.patching.target import Registers, Target

if TYPE_CHECKING:
    from relive.replay.session import Session
    from relive.replay.tasks import Space, Task

_INDEX: Final = {r.name: r.index for r in x86_64.REGISTERS}
_RAX, _RIP, _RSP, _EFLAGS = (_INDEX[n] for n in ("rax", "rip", "rsp", "eflags"))
# Number of a register in an instruction (Intel SDM vol. 2, table 2-2).
_CODES: Final = {
    "rcx": 1, "rdx": 2, "rbx": 3, "rsp": 4, "rbp": 5, "rsi": 6, "rdi": 7,
    "r8": 8, "r9": 9, "r10": 10, "r11": 11, "r12": 12, "r13": 13, "r14": 14, "r15": 15,
}  # fmt: skip
# Those that most loops change come first: a wrong hit is most often told by the first compare.
_ORDER: Final = (
    "rcx", "rdx", "rsi", "rdi", "rbx", "r8", "r9", "r10", "r11",
    "r12", "r13", "r14", "r15", "rbp", "rsp",
)  # fmt: skip
# What lahf and seto keep: SF ZF AF PF CF in ah, OF in al.
_LAHF: Final = 0xD5
_OF: Final = 1 << 11

# A site's block of data.
_SAVED_RAX, _SAVED_FLAGS, _HITS, _FLAGS, _VALUES = 0, 8, 16, 24, 32
_N_WORDS: Final = 12
_WORDS: Final = _VALUES + 8 * 16
_ZERO: Final = _WORDS + 16 * _N_WORDS
_BLOCK: Final = 512
_PAGE: Final = 4096
_N_KEPT: Final = 256
_SYS_MUNMAP: Final = 11
_STACK_ROOM: Final = 64 << 20


class ReplayTarget:
    """A replayed address space, for the patcher."""

    def __init__(self, session: Session, space: Space) -> None:
        self._session = session
        self._space = space

    def _tasks(self) -> list[Task]:
        return [t for t in self._session.tasks.values() if t.space is self._space and not t.ended]

    @property
    def pid(self) -> int:
        return self._tasks()[0].tid

    def _fd(self) -> int:
        return self._session.core.mem_fd(self._tasks()[0].serial)

    def read(self, addr: int, size: int) -> bytes:
        data = os.pread(self._fd(), size, addr)
        if len(data) != size:
            raise OSError(14, "Bad address")
        return data

    def write(self, addr: int, data: bytes) -> None:
        os.pwrite(self._fd(), data, addr)

    def maps(self) -> Sequence[Mapping]:
        return read_maps(self.pid)

    def syscall(self, nr: int, *args: int) -> int:
        return _core.remote(self.pid, nr, *args)

    def threads(self) -> Iterable[int]:
        return [t.tid for t in self._tasks()]

    def get_registers(self, tid: int) -> tuple[int, ...]:
        return _core.getregs(tid)

    def set_registers(self, tid: int, registers: Registers) -> None:
        _core.setregs(tid, registers)

    def usable(self, start: int, end: int) -> bool:
        """Anywhere but where the stack grows. The recording may map something there later: then
        the stubs are given up (Session.code_moves); nothing jumps to them between searches."""
        user = [m for m in self.maps() if m.start < x86_64.USER_SPACE_END]
        return not user[-1].start - _STACK_ROOM < end <= user[-1].start


def _rip(code: bytes, at: int, operand: int, *, after: int = 0) -> bytes:
    """An instruction with a RIP-relative operand at its end (but `after` bytes)."""
    return code + struct.pack("<i", operand - (at + len(code) + 4 + after))


class _Body:
    """The stub's code. data: address of its block of data."""

    def __init__(self, data: int) -> None:
        self.data = data
        self.candidate = 0  # offset of the trap of a candidate
        self.reject = 0  # offset where a rejected candidate goes on

    def assemble(self, at: int) -> tuple[bytes, int]:
        out = bytearray()
        fixups: list[int] = []
        early: list[int] = []  # jumps from where rax still holds the flags
        data = self.data

        def rip(code: bytes, offset: int, tail: bytes = b"") -> None:
            out.extend(_rip(code, at + len(out), data + offset, after=len(tail)) + tail)

        def reject_unless_equal(jumps: list[int]) -> None:
            out.extend(b"\x0f\x85\0\0\0\0")  # jne reject
            jumps.append(len(out))

        rip(b"\x48\x89\x05", _SAVED_RAX)  # mov %rax,SAVED_RAX
        out.extend(b"\x9f\x0f\x90\xc0")  # lahf; seto %al
        rip(b"\x48\x89\x05", _SAVED_FLAGS)
        rip(b"\x48\x83\x05", _HITS, b"\x01")  # addq $1,HITS
        for place, name in enumerate(_ORDER):
            code = _CODES[name]
            rex = 0x48 | (code >> 3) << 2
            rip(bytes((rex, 0x3B, 0x05 | (code & 7) << 3)), _VALUES + 8 * place)  # cmp V,%reg
            reject_unless_equal(early)
        rip(b"\x66\x3b\x05", _FLAGS)  # cmp FLAGS,%ax
        reject_unless_equal(early)
        rip(b"\x48\x8b\x05", _SAVED_RAX)  # mov SAVED_RAX,%rax
        rip(b"\x48\x3b\x05", _VALUES + 8 * 15)
        reject_unless_equal(fixups)
        for n in range(_N_WORDS):
            rip(b"\x48\x8b\x05", _WORDS + 16 * n)  # mov ADDRESS,%rax
            out.extend(b"\x48\x8b\x00")  # mov (%rax),%rax
            rip(b"\x48\x3b\x05", _WORDS + 16 * n + 8)  # cmp VALUE,%rax
            reject_unless_equal(fixups)
        self.candidate = len(out)
        out.extend(b"\xcc")
        self.reject = len(out)
        for end in fixups:
            struct.pack_into("<i", out, end - 4, self.reject - end)
        rip(b"\x48\x8b\x05", _SAVED_FLAGS)  # mov SAVED_FLAGS,%rax
        for end in early:
            struct.pack_into("<i", out, end - 4, len(out) - end)
        out.extend(b"\x04\x7f\x9e")  # add $0x7f,%al; sahf
        rip(b"\x48\x8b\x05", _SAVED_RAX)
        return bytes(out), 0

    def view(self, offset: int, registers: Registers, target: Target) -> list[int]:
        """At the candidate's trap, or the fault of a word's load; nowhere else does it stop."""
        out = list(registers)
        rax, flags = struct.unpack("<QQ", target.read(self.data + _SAVED_RAX, 16))
        out[_RAX] = rax
        kept = out[_EFLAGS] & ~(_LAHF | _OF)
        out[_EFLAGS] = kept | (flags >> 8 & _LAHF) | (_OF if flags & 1 else 0)
        return out

    def rewind(self, offset: int, registers: Registers, target: Target) -> tuple[list[int], bool]:
        return self.view(offset, registers, target), True


class CannotSearch(Exception):
    """This site can't be searched in the process; the message says why."""


class Overshot(Exception):
    """Another stop came before the landmark. status: its wait status."""

    def __init__(self, status: int, found: Found) -> None:
        super().__init__(status)
        self.status = status
        self.found = found


class _Site(NamedTuple):
    """A site and its own patcher: only one site's jump is in place at a time, so each is planned on
    the original bytes, whatever other sites lie beside it."""

    patcher: Patcher
    body: _Body
    patch: Patch

    def switch(self, target: Target, *, on: bool) -> None:
        """Puts the jump in place, or the original bytes back."""
        for address, (original, written) in self.patch.writes.items():
            target.write(address, bytes((written if on else original,)))


class Searcher:
    """Searches in one address space."""

    def __init__(self, session: Session, space: Space) -> None:
        self._session = session
        self._target = ReplayTarget(session, space)
        self._data = Arenas(self._target)
        self._pages: list[int] = []
        self._blocks: list[int] = []  # free blocks of data
        self._sites: dict[int, _Site] = {}  # their jumps are not in place

    def overlaps(self, start: int, end: int) -> bool:
        """Whether a patch or memory of the stubs lies there."""
        pages = [(p, p + _PAGE) for p in self._pages]
        for address, site in self._sites.items():
            pages += [*site.patcher.arenas.pages(), (address, address + 16)]
        return any(a < end and start < b for a, b in pages)

    def give_up(self) -> None:
        """Unmaps the stubs' memory: the recording has something else there."""
        for address, site in self._sites.items():
            site.switch(self._target, on=True)
            site.patcher.update(remove=[address])
            site.patcher.release()
        self._sites.clear()
        for page in self._pages:
            self._target.syscall(_SYS_MUNMAP, page, _PAGE)
        self._pages.clear()
        self._blocks.clear()

    def _block(self, site: int) -> int:
        """A free block of data within reach of the site."""
        for block in self._blocks:
            if abs(block - site) < 1 << 30:
                self._blocks.remove(block)
                return block
        self._data.refresh()
        page = self._data.map_near(site, _PAGE, 3, 0x22)
        self._pages.append(page)
        self._blocks += range(page + _BLOCK, page + _PAGE, _BLOCK)
        return page

    def _install(self, address: int) -> _Site:
        kept = self._sites.get(address)
        if kept is not None:
            kept.switch(self._target, on=True)
            return kept
        if len(self._sites) >= _N_KEPT:
            self.give_up()
        patcher = Patcher(self._target)
        try:
            body = _Body(self._block(address))
            outcome = patcher.update([Request(address, body)])[address]
        except OSError as e:
            raise CannotSearch(str(e)) from e
        if isinstance(outcome, CannotPatch):
            self._blocks.append(body.data)
            raise CannotSearch(outcome.why)
        if not outcome.in_process:
            patcher.update(remove=[address])
            self._blocks.append(body.data)
            raise CannotSearch("; ".join(outcome.passed_over) or "only a breakpoint fits")
        body.assemble(outcome.stub)
        self._sites[address] = _Site(patcher, body, outcome)
        return self._sites[address]

    def find(self, task: Task, regs: Sequence[int]) -> Found:
        """Brings the task to the landmark of the event at hand.

        Raises CannotSearch (nothing has happened yet), Overshot, OSError.
        """
        site = self._install(regs[_RIP])
        try:
            return self._search(task, regs, site)
        finally:
            site.switch(self._target, on=False)

    def _arm(self, body: _Body, regs: Sequence[int]) -> None:
        values = [regs[_INDEX[name]] for name in _ORDER]
        flags = regs[_EFLAGS]
        expected = (flags & _LAHF | 2) << 8 | (1 if flags & _OF else 0)
        zero = body.data + _ZERO
        self._target.write(
            body.data,
            struct.pack("<QQQQ", 0, 0, 0, expected)
            + struct.pack("<16Q", *values, regs[_RAX])
            + struct.pack("<QQ", zero, 0) * _N_WORDS
            + bytes(8),
        )

    def _search(self, task: Task, regs: Sequence[int], site: _Site) -> Found:
        core, body = self._session.core, site.body
        words: dict[int, int] = {}
        candidates = rounds = 0
        self._arm(body, regs)

        def so_far() -> Found:
            hits = int.from_bytes(self._target.read(body.data + _HITS, 8), "little")
            return Found(hits, candidates, rounds)

        while True:
            status = core.advance(task.serial)
            signo = os.WSTOPSIG(status) if os.WIFSTOPPED(status) else 0
            trap = None
            if signo in (signal.SIGTRAP, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL):
                trap = site.patcher.resolve(task.tid, signo)
            if trap is None or trap.what is Happened.DISPLACED:
                raise Overshot(status, so_far())
            if trap.what is not Happened.BODY:
                continue
            now = list(_core.getregs(task.tid))
            if trap.offset == body.candidate:
                candidates += 1
                same, differing = core.compare_sample(task.serial, 6)
                if same and self._same_flags(body, now, regs):
                    now = body.view(trap.offset, now, self._target)
                    now[_RIP] = regs[_RIP]
                    _core.setregs(task.tid, now)
                    return so_far()
                new = [(a, v) for a, v in differing if a not in words]
                if new and len(words) < _N_WORDS:
                    rounds += 1
                    self._refine(body, words, new)
            # (else a word's page is gone: no candidate)
            now[_RIP] = site.patch.stub + body.reject
            _core.setregs(task.tid, now)

    def _same_flags(self, body: _Body, now: Sequence[int], regs: Sequence[int]) -> bool:
        """The flags that the stub does not compare, and the bases."""
        seen = body.view(0, now, self._target)
        tracing = x86_64.FLAG_TRAP | x86_64.FLAG_RESUME
        if (seen[_EFLAGS] ^ regs[_EFLAGS]) & ~tracing:
            return False
        return all(seen[_INDEX[n]] == regs[_INDEX[n]] for n in ("fs_base", "gs_base"))

    def _refine(self, body: _Body, words: dict[int, int], new: list[tuple[int, int]]) -> None:
        for address, value in new:
            if len(words) == _N_WORDS:
                return
            at = body.data + _WORDS + 16 * len(words)
            self._target.write(at, struct.pack("<QQ", address, value))
            words[address] = value


def find(session: Session, task: Task) -> None:
    """Brings the task to the landmark of the event at hand, by the cheapest evaluator that can.

    Raises Overshot, OSError.
    """
    regs = session.core.logged_regs(task.serial)
    start = time.perf_counter()
    if session.evaluator in ("auto", "inprocess"):
        if task.space.searcher is None:
            task.space.searcher = Searcher(session, task.space)
        try:
            found = task.space.searcher.find(task, regs)
        except CannotSearch as e:
            session.statistics.reasons[str(e)] = session.statistics.reasons.get(str(e), 0) + 1
        else:
            session.statistics.add("in-process", found, time.perf_counter() - start)
            return
    status, hits, candidates, refinements = session.core.search(task.serial)
    found = Found(hits, candidates, refinements)
    if status:
        raise Overshot(status, found)
    session.statistics.add("supervisor", found, time.perf_counter() - start)
