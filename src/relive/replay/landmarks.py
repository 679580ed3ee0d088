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
_RAX, _RCX, _RIP, _EFLAGS = (_INDEX[n] for n in ("rax", "rcx", "rip", "eflags"))
# Number of a register in an instruction (Intel SDM vol. 2, table 2-2).
_CODES: Final = {
    "rax": 0, "rcx": 1, "rdx": 2, "rbx": 3, "rsp": 4, "rbp": 5, "rsi": 6, "rdi": 7,
    "r8": 8, "r9": 9, "r10": 10, "r11": 11, "r12": 12, "r13": 13, "r14": 14, "r15": 15,
}  # fmt: skip
# What lahf and seto keep: SF ZF AF PF CF in ah, OF in al.
_LAHF: Final = 0xD5
_OF: Final = 1 << 11

# A site's block of data.
_SAVED_RAX, _SAVED_RCX, _HITS, _FLAGS, _VALUES = 0, 8, 16, 24, 32
_N_WORDS: Final = 12
_WORDS: Final = _VALUES + 8 * 16
_ZERO: Final = _WORDS + 16 * _N_WORDS
# Hits looked at from outside, to learn which registers tell them apart.
_PROBES: Final = 4
# Tests of the extended state: what their stores write, the values expected.
_STORED, _EXPECTED, _LEGACY = 512, 576, 1024
_N_TESTS: Final = 4
_TEST: Final = 32
_BLOCK: Final = 2048
_PAGE: Final = 4096
_N_KEPT: Final = 256
# Words that a site remembers from one landmark to the next.
_N_TELLING: Final = 3
_SYS_MPROTECT: Final = 10
_SYS_MUNMAP: Final = 11
_PROT_WRITE: Final = 2
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


class _Store(NamedTuple):
    """An instruction that stores a register and changes nothing.

    code: all of it but the displacement; to: where it stores; at: where the word lies in that.
    """

    code: bytes
    to: int
    at: int


def _store(component: int, offset: int) -> _Store | None:
    """For a word of the extended state (component as in CPUID leaf 0xD); None: no such store.

    Encodings: Intel SDM vol. 2, FXSAVE64, MOVUPS, VMOVUPS, KMOVQ.
    """
    if component == 0:
        return _Store(b"\x48\x0f\xae\x05", _LEGACY, offset)
    sizes = {1: 16, 2: 16, 5: 8, 6: 32, 7: 64}
    if component not in sizes:
        return None
    n, part = divmod(offset, sizes[component])
    modrm = bytes((0x05 | (n & 7) << 3,))
    if component == 1:
        return _Store((b"\x44" if n > 7 else b"") + b"\x0f\x11" + modrm, _STORED, part)
    if component == 2:
        return _Store(bytes((0xC5, 0x7C if n > 7 else 0xFC, 0x11)) + modrm, _STORED, 16 + part)
    if component == 5:
        return _Store(b"\xc4\xe1\xf8\x91" + modrm, _STORED, part)
    if component == 7:
        n += 16
    first = 0x61 | (~n >> 3 & 1) << 7 | (~n >> 4 & 1) << 4
    code = bytes((0x62, first, 0x7C, 0x48, 0x11)) + modrm
    return _Store(code, _STORED, part + (32 if component == 6 else 0))


class _Body:
    """The stub's code.

    data: address of its block of data. order: the sixteen registers, the telling ones first.
    words_first: how many of the words are compared before the registers.
    """

    def __init__(self, data: int, order: Sequence[str], words_first: int) -> None:
        self.data = data
        self.order = order
        self.words_first = words_first
        self.candidate = 0  # offset of the trap of a candidate
        self.reject = 0  # offset where a rejected candidate goes on
        self.tests = 0  # offset of the room for tests of the extended state
        self.at = 0

    def assemble(self, at: int) -> tuple[bytes, int]:
        out = bytearray()
        jumps: list[int] = []
        data = self.data

        def rip(code: bytes, offset: int, tail: bytes = b"") -> None:
            out.extend(_rip(code, at + len(out), data + offset, after=len(tail)) + tail)

        def reject_unless_equal() -> None:
            out.extend(b"\x0f\x85\0\0\0\0")  # jne reject
            jumps.append(len(out))

        def compare_word(n: int) -> None:
            rip(b"\x48\x8b\x0d", _WORDS + 16 * n)  # mov ADDRESS,%rcx
            out.extend(b"\x48\x8b\x09")  # mov (%rcx),%rcx
            rip(b"\x48\x3b\x0d", _WORDS + 16 * n + 8)  # cmp VALUE,%rcx
            reject_unless_equal()

        rip(b"\x48\x89\x05", _SAVED_RAX)  # mov %rax,SAVED_RAX
        rip(b"\x48\x89\x0d", _SAVED_RCX)
        out.extend(b"\x9f\x0f\x90\xc0")  # lahf; seto %al: kept in ax until the end
        rip(b"\x48\x83\x05", _HITS, b"\x01")  # addq $1,HITS
        self.at, self.tests = at, len(out)
        out.extend(self.no_tests(0))
        for n in range(self.words_first):
            compare_word(n)
        for name in self.order:
            value, code = _VALUES + 8 * _CODES[name], _CODES[name]
            if name in ("rax", "rcx"):
                rip(b"\x48\x8b\x0d", _SAVED_RAX if name == "rax" else _SAVED_RCX)
                code = _CODES["rcx"]
            rex = 0x48 | (code >> 3) << 2
            rip(bytes((rex, 0x3B, 0x05 | (code & 7) << 3)), value)  # cmp VALUE,%register
            reject_unless_equal()
        rip(b"\x66\x3b\x05", _FLAGS)  # cmp FLAGS,%ax
        reject_unless_equal()
        for n in range(self.words_first, _N_WORDS):
            compare_word(n)
        self.candidate = len(out)
        out.extend(b"\xcc")
        self.reject = len(out)
        for end in jumps:
            struct.pack_into("<i", out, end - 4, self.reject - end)
        out.extend(b"\x04\x7f\x9e")  # add $0x7f,%al; sahf
        rip(b"\x48\x8b\x05", _SAVED_RAX)
        rip(b"\x48\x8b\x0d", _SAVED_RCX)
        return bytes(out), 0

    @staticmethod
    def no_tests(first: int) -> bytes:
        """The room for tests from `first` on, jumped over."""
        room = _TEST * (_N_TESTS - first)
        return (bytes((0xEB, room - 2)) if room else b"").ljust(room, b"\x90")

    def set_test(self, target: Target, n: int, store: _Store, value: int) -> None:
        """The nth test: a word of the extended state must have that value."""
        at = start = self.at + self.tests + _TEST * n
        code = b""
        for instruction, operand in (
            (store.code, store.to),
            (b"\x48\x8b\x0d", store.to + store.at),  # mov WORD,%rcx
            (b"\x48\x3b\x0d", _EXPECTED + 8 * n),  # cmp VALUE,%rcx
        ):
            code += _rip(instruction, start + len(code), self.data + operand)
        at = start + len(code) + 6
        code += b"\x0f\x85" + struct.pack("<i", self.at + self.reject - at)
        target.write(self.data + _EXPECTED + 8 * n, struct.pack("<Q", value))
        target.write(start, code.ljust(_TEST, b"\x90") + self.no_tests(n + 1))

    def view(self, offset: int, registers: Registers, target: Target) -> list[int]:
        """At the candidate's trap, or the fault of a word's load; nowhere else does it stop."""
        out = list(registers)
        flags = registers[_RAX]
        out[_RAX], out[_RCX] = struct.unpack("<QQ", target.read(self.data + _SAVED_RAX, 16))
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


class _Written(Exception):
    """The program is about to write to the pages of the patch."""

    def __init__(self, found: Found) -> None:
        super().__init__()
        self.found = found


class _Guard(NamedTuple):
    """Pages that a patch lies in and that the program may write: how they are protected."""

    start: int
    size: int
    prot: int

    def holds(self, tid: int) -> bool:
        """Whether the task's fault is there."""
        address = int.from_bytes(_core.siginfo(tid)[16:24], "little")
        return self.start <= address < self.start + self.size


class _Site(NamedTuple):
    """A site and its own patcher: only one site's jump is in place at a time, so each is planned on
    the original bytes, whatever other sites lie beside it."""

    patcher: Patcher
    body: _Body
    patch: Patch
    telling: list[int]
    """Addresses of words that told candidates apart here."""
    guard: _Guard | None

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
            self._uninstall(address, site)
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

    def _uninstall(self, address: int, site: _Site) -> None:
        site.switch(self._target, on=True)
        site.patcher.update(remove=[address])
        site.patcher.release()
        self._blocks.append(site.body.data)

    def _make(self, address: int, order: Sequence[str], telling: list[int]) -> _Site:
        """Patches a site; its jump is in place then."""
        where = next((m for m in self._target.maps() if m.start <= address < m.end), None)
        patcher = Patcher(self._target)
        try:
            body = _Body(self._block(address), order, len(telling))
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
        guard = None
        if where is not None and where.prot & _PROT_WRITE:
            start = min(outcome.writes) & -_PAGE
            guard = _Guard(start, (max(outcome.writes) & -_PAGE) + _PAGE - start, where.prot)
        site = self._sites[address] = _Site(patcher, body, outcome, telling, guard)
        if guard is not None and not (where and where.end >= guard.start + guard.size):
            self._uninstall(address, self._sites.pop(address))
            raise CannotSearch("code that the program may write, at the end of a mapping")
        return site

    def _protect(self, guard: _Guard, *, on: bool) -> None:
        prot = guard.prot & ~_PROT_WRITE if on else guard.prot
        self._target.syscall(_SYS_MPROTECT, guard.start, guard.size, prot)

    def _probe(self, task: Task, regs: Sequence[int]) -> tuple[Found | None, list[str]]:
        """Looks at the first hits from outside: whether the landmark is among them already, and
        the registers, those that differ from hit to hit first."""
        core = self._session.core
        seen: list[tuple[int, ...]] = []
        candidates = 0
        core.hw_break(task.serial, regs[_RIP])
        try:
            while len(seen) < _PROBES:
                status = core.advance(task.serial)
                stopped = os.WIFSTOPPED(status) and os.WSTOPSIG(status) == signal.SIGTRAP
                now = _core.getregs(task.tid) if stopped else ()
                if not stopped or now[_RIP] != regs[_RIP]:
                    raise Overshot(status, Found(len(seen), candidates, 0))
                seen.append(now)
                if self._same_registers(now, regs):
                    candidates += 1
                    if core.compare_sample(task.serial, 0)[0]:
                        return Found(len(seen), candidates, 0), []
        finally:
            core.hw_break(task.serial, 0)

        def telling(name: str) -> int:
            values = [hit[_INDEX[name]] for hit in seen]
            return len(set(values)) - 2 * values.count(regs[_INDEX[name]])

        return None, sorted(_CODES, key=lambda name: -telling(name))

    def find(self, task: Task, regs: Sequence[int]) -> Found:
        """Brings the task to the landmark of the event at hand.

        Raises CannotSearch (nothing has been lost), Overshot, OSError.
        """
        address = regs[_RIP]
        before = 0
        site = self._sites.get(address)
        if site is not None and site.body.words_first < len(site.telling):
            # words tell here what registers don't: they are looked at first from now on
            self._uninstall(address, self._sites.pop(address))
            site = self._make(address, site.body.order, site.telling)
        elif site is not None:
            site.switch(self._target, on=True)
        else:
            if len(self._sites) >= _N_KEPT:
                self.give_up()
            found, order = self._probe(task, regs)
            if found is not None:
                return found
            before = _PROBES - 1  # the last of them has not been executed yet
            site = self._make(address, order, [])
        if site.guard is not None:
            return self._guarded(task, regs, site, before)
        try:
            found = self._search(task, regs, site)
        finally:
            site.switch(self._target, on=False)
        return found._replace(hits=found.hits + before)

    def _guarded(self, task: Task, regs: Sequence[int], site: _Site, before: int) -> Found:
        """In code that the program may write: not writable while the patch is there. When it is
        written to, the patch goes, until the site is executed the next time."""
        address = regs[_RIP]
        total = Found(before, 0, 0)
        while True:
            assert site.guard is not None
            self._protect(site.guard, on=True)
            try:
                found, written = self._search(task, regs, site), False
            except _Written as e:
                found, written = e.found, True
            except Overshot:
                site.switch(self._target, on=False)
                raise
            self._protect(site.guard, on=False)
            self._uninstall(address, self._sites.pop(address))
            total = Found(*(a + b for a, b in zip(total, found, strict=True)))
            if not written:
                return total
            at_once, order = self._probe(task, regs)
            if at_once is not None:
                return Found(*(a + b for a, b in zip(total, at_once, strict=True)))
            total = total._replace(hits=total.hits + _PROBES - 1)
            site = self._make(address, order, [])

    @staticmethod
    def _same_registers(now: Sequence[int], regs: Sequence[int]) -> bool:
        tracing = x86_64.FLAG_TRAP | x86_64.FLAG_RESUME
        if (now[_EFLAGS] ^ regs[_EFLAGS]) & ~tracing:
            return False
        names = (*_CODES, "fs_base", "gs_base")
        return all(now[_INDEX[n]] == regs[_INDEX[n]] for n in names)

    def _arm(self, site: _Site, regs: Sequence[int]) -> dict[int, int]:
        """Sets what the stub compares with; the words compared."""
        body, data = site.body, site.body.data
        self._target.write(body.at + body.tests, body.no_tests(0))
        flags = regs[_EFLAGS]
        expected = (flags & _LAHF | 2) << 8 | (1 if flags & _OF else 0)
        words: dict[int, int] = {}
        for address in site.telling:
            value = self._session.core.sample_word(address)
            if value is not None:
                words[address] = value
        pairs = [*words.items()][:_N_WORDS]
        pairs += [(data + _ZERO, 0)] * (_N_WORDS - len(pairs))
        self._target.write(
            data,
            struct.pack("<QQQQ", 0, 0, 0, expected)
            + struct.pack("<16Q", *(regs[_INDEX[name]] for name in _CODES))
            + b"".join(struct.pack("<QQ", *pair) for pair in pairs)
            + bytes(8),
        )
        return words

    def _search(self, task: Task, regs: Sequence[int], site: _Site) -> Found:
        core, body = self._session.core, site.body
        words = self._arm(site, regs)
        tests: set[tuple[int, int]] = set()
        candidates = rounds = 0

        def so_far() -> Found:
            hits = int.from_bytes(self._target.read(body.data + _HITS, 8), "little")
            return Found(hits, candidates, rounds)

        while True:
            status = core.advance(task.serial)
            signo = os.WSTOPSIG(status) if os.WIFSTOPPED(status) else 0
            guard = site.guard
            if guard is not None and signo == signal.SIGSEGV and guard.holds(task.tid):
                site.patcher.resolve(task.tid, signo)  # back to the original if it was displaced
                raise _Written(so_far())
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
                if guard is not None:  # code that is data, too, and compared as such
                    site.switch(self._target, on=False)
                same, differing = core.compare_sample(task.serial, 6)
                if guard is not None:
                    site.switch(self._target, on=True)
                if same and self._same_registers(body.view(0, now, self._target), regs):
                    now = body.view(trap.offset, now, self._target)
                    now[_RIP] = regs[_RIP]
                    _core.setregs(task.tid, now)
                    return so_far()
                new = [(a, v) for a, v in differing if a not in words]
                if new and len(words) < _N_WORDS:
                    rounds += 1
                    self._refine(site, words, new)
                elif not same:
                    rounds += self._refine_extended(task, site, tests)
            # (else a word's page is gone: no candidate)
            now[_RIP] = site.patch.stub + body.reject
            _core.setregs(task.tid, now)

    def _refine_extended(self, task: Task, site: _Site, tests: set[tuple[int, int]]) -> bool:
        """Has the stub compare a word of the extended state that differs."""
        if len(tests) == _N_TESTS:
            return False
        for component, offset, value in self._session.core.compare_xstate(task.serial, 8):
            store = _store(component, offset)
            if store is not None and (component, offset) not in tests:
                site.body.set_test(self._target, len(tests), store, value)
                tests.add((component, offset))
                return True
        return False

    def _refine(self, site: _Site, words: dict[int, int], new: list[tuple[int, int]]) -> None:
        for address, value in new:
            if len(words) == _N_WORDS:
                return
            at = site.body.data + _WORDS + 16 * len(words)
            self._target.write(at, struct.pack("<QQ", address, value))
            words[address] = value
            if address not in site.telling and len(site.telling) < _N_TELLING:
                site.telling.append(address)


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
