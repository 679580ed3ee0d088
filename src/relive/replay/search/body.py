"""The stub: the code that a site's jump leads to.

    full:   rax, flags saved; extended state, words, registers compared with the landmark's
            int3                        a candidate
            restored; jmp loop, or copy
    pass:   jmp full
    count:  int3                        the hit that was counted to
    entry:  the hit counted; one word or register looked at (or only counted): not the
            landmark's for all but a few hits, which fall through, or go to `pass` or `count`
    loop:   the loop around the site, if it is a simple one (loop.py), which leads to `entry`
    again:  the same for counting, if it leaves rcx alone, which then is the counter while it lasts:
            int3                        the hit that was counted to
            rcx + 1, and the loop's instructions; they lead back here
            where it is left: the counter stored, rcx restored
    copy:   the displaced instructions (relive.tracee.patching)

The front touches no flags and one register (rcx), or two: lea adds, jrcxz decides.  That costs a
loop of three instructions about as much again as it took by itself.  What it needs lies beside
the stub, never on the program's stack: bytes below the stack pointer are dead, but a later frame
may lie on them, and a later landmark may sample it.  One task runs at a time, so one set of
slots is enough.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from relive.replay.search.landmark import EFLAGS, GENERAL, INDEX, MAX_WORDS, RIP
from relive.replay.search.loop import RCX, Step
from relive.replay.search.stores import LEGACY, STORED, Store

if TYPE_CHECKING:
    from relive.replay.search.loop import Loop
    from relive.tracee.patching.target import Registers, Target

_RAX, _RCX, _RDX = (INDEX[n] for n in ("rax", "rcx", "rdx"))
_CODES: Final = {name: code for code, name in enumerate(GENERAL)}
# What lahf and seto keep: SF ZF AF PF CF in ah, OF in al.
_LAHF: Final = 0xD5
_OF: Final = 1 << 11
_WORD: Final = (1 << 64) - 1

# A site's block of data: 64-bit words, then room for what STORED and LEGACY name.
_SAVED_RAX, _SAVED_RCX, _SAVED_RDX, _HITS, _FLAGS, _NEGATED, _VALUES = (8 * n for n in range(7))
_WORDS: Final = _VALUES + 8 * 16
_ZERO: Final = _WORDS + 16 * MAX_WORDS
_EXPECTED: Final = 576
assert _ZERO + 8 <= STORED and _EXPECTED + 64 <= LEGACY
BLOCK: Final = LEGACY + 1024

N_TESTS: Final = 4
"""Words of the extended state that can be compared."""
_TEST: Final = 32
_FRONT: Final = 80
_AGAIN_HEAD: Final = 7
_WAY_OUT: Final = 19
"""Bytes in front of the loop that counts, and of each way out of it."""
_NOPS: Final = (  # Intel SDM vol. 2, NOP
    b"", b"\x90", b"\x66\x90", b"\x0f\x1f\x00", b"\x0f\x1f\x40\x00", b"\x0f\x1f\x44\x00\x00",
    b"\x66\x0f\x1f\x44\x00\x00", b"\x0f\x1f\x80\0\0\0\0", b"\x0f\x1f\x84\0\0\0\0\0",
)  # fmt: skip


def _rip(code: bytes, at: int, operand: int) -> bytes:
    """An instruction with a RIP-relative operand at its end.  Raises OverflowError: too far."""
    displacement = operand - (at + len(code) + 4)
    return code + displacement.to_bytes(4, "little", signed=True)


def _nops(room: int) -> bytes:
    count, rest = divmod(room, 8)
    return _NOPS[8] * count + _NOPS[rest]


class Body:
    """The stub's code.

    data: address of its block of data.  order: the sixteen registers, the telling ones first.
    n_telling: how many of the words are compared before the registers.  loop: around the site.
    """

    def __init__(
        self, data: int, order: Sequence[str], n_telling: int, loop: Loop | None = None
    ) -> None:
        self.data = data
        self.order = order
        self.n_telling = n_telling
        self._loop = loop
        # Offsets from the stub's start.
        self.candidate = 0  # the trap of a candidate
        self.reject = 0  # where a rejected candidate goes on
        self.counted = 0  # the trap of the hit counted to
        self.tests = 0  # room for tests of the extended state
        self.entry = 0
        self.rest = 0  # behind the front
        self.steps: list[Step] = []  # of the loop's copy
        self.again = 0  # the trap of the loop that counts; 0: there is none
        self._again_steps: list[Step] = []
        self.at = 0
        self.counting = False  # which front is in place

    # -- code

    def assemble(self, at: int) -> tuple[bytes, int]:
        self.at, self.counting = at, False
        out = bytearray(self._full(at))
        passed = len(out)
        out += b"\xe9" + struct.pack("<i", -(len(out) + 5))  # pass: jmp full
        self.counted = len(out)
        out += b"\xcc"
        self.entry = len(out)
        self.again = 0
        front = self._front(at + self.entry, at + passed, counting=False)
        room = max(len(front), len(self._front(at + self.entry, at + passed, counting=True)))
        out += front + _nops(room - len(front))
        self.rest = len(out)
        struct.pack_into("<i", out, passed - 4, self.rest - passed)
        if self._loop is not None:
            loop, self.steps = self._loop.copy(at + self.rest, at + self.entry)
            out += loop
            if not self._loop.uses(RCX):
                self.again = len(out)
                out += self._counting_loop(at + self.again, self._loop)
        return bytes(out), self.entry

    def _counting_loop(self, at: int, loop: Loop) -> bytes:
        head = b"\xcc\x48\x8d\x49\x01"  # int3; lea 1(%rcx),%rcx
        head += b"\xe3" + struct.pack("<b", -(len(head) + 2))  # jrcxz to the int3
        start = at + len(head)
        size = len(loop.copy(start, start)[0])
        ways = {target: start + size + _WAY_OUT * n for n, target in enumerate(loop.exits)}
        code, steps = loop.copy(start, at + 1, ways.__getitem__)
        self._again_steps = [Step(self.again + len(head) + s.start, s.original) for s in steps]
        out = bytearray(head + code)
        for target in ways:
            out += _rip(b"\x48\x89\x0d", at + len(out), self.data + _HITS)
            out += _rip(b"\x48\x8b\x0d", at + len(out), self.data + _SAVED_RCX)
            way = target - (at + len(out) + 5)
            out += b"\xe9" + way.to_bytes(4, "little", signed=True)
        return bytes(out)

    def _full(self, at: int) -> bytes:
        """All that is compared; ends with a jump whose displacement is to be filled in."""
        out = bytearray()
        jumps: list[int] = []

        def rip(code: bytes, offset: int) -> None:
            out.extend(_rip(code, at + len(out), self.data + offset))

        def reject_unless_equal() -> None:
            out.extend(b"\x0f\x85\0\0\0\0")  # jne reject
            jumps.append(len(out))

        def compare_word(n: int) -> None:
            rip(b"\x48\x8b\x0d", _WORDS + 16 * n)  # mov ADDRESS,%rcx
            out.extend(b"\x48\x8b\x09")  # mov (%rcx),%rcx
            rip(b"\x48\x3b\x0d", _WORDS + 16 * n + 8)  # cmp VALUE,%rcx
            reject_unless_equal()

        rip(b"\x48\x89\x05", _SAVED_RAX)  # mov %rax,SAVED_RAX; rcx is saved already
        out.extend(b"\x9f\x0f\x90\xc0")  # lahf; seto %al: kept in ax until the end
        self.tests = len(out)
        out.extend(self.no_tests(0))
        for n in range(self.n_telling):
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
        for n in range(self.n_telling, MAX_WORDS):
            compare_word(n)
        self.candidate = len(out)
        out.extend(b"\xcc")
        self.reject = len(out)
        for end in jumps:
            struct.pack_into("<i", out, end - 4, self.reject - end)
        out.extend(b"\x04\x7f\x9e")  # add $0x7f,%al; sahf
        rip(b"\x48\x8b\x05", _SAVED_RAX)
        rip(b"\x48\x8b\x0d", _SAVED_RCX)
        out.extend(b"\xe9\0\0\0\0")  # jmp copy
        return bytes(out)

    def _front(self, at: int, passed: int, *, counting: bool) -> bytes:
        """passed: address of the jump to the whole comparison; the trap of what is counted to is
        right behind it."""
        out = bytearray()

        def rip(code: bytes, offset: int) -> None:
            out.extend(_rip(code, at + len(out), self.data + offset))

        def jrcxz(to: int) -> None:
            out.extend(b"\xe3" + struct.pack("<b", to - (at + len(out) + 2)))

        rip(b"\x48\x89\x0d", _SAVED_RCX)  # mov %rcx,SAVED_RCX
        rip(b"\x48\x8b\x0d", _HITS)  # mov HITS,%rcx
        out.extend(b"\x48\x8d\x49\x01")  # lea 1(%rcx),%rcx
        rip(b"\x48\x89\x0d", _HITS)
        if counting:
            jrcxz(passed + 5)
        elif self.n_telling or self.order[0] == "rcx":
            rip(b"\x48\x89\x15", _SAVED_RDX)  # mov %rdx,SAVED_RDX
            if self.n_telling:
                rip(b"\x48\x8b\x0d", _WORDS)  # mov ADDRESS,%rcx
                out.extend(b"\x48\x8b\x09")  # mov (%rcx),%rcx
            else:
                rip(b"\x48\x8b\x0d", _SAVED_RCX)
            rip(b"\x48\x8b\x15", _NEGATED)  # mov -VALUE,%rdx
            out.extend(b"\x48\x8d\x0c\x11")  # lea (%rcx,%rdx),%rcx
            rip(b"\x48\x8b\x15", _SAVED_RDX)
            jrcxz(passed)
        else:
            code = _CODES[self.order[0]]
            rip(b"\x48\x8b\x0d", _NEGATED)  # mov -VALUE,%rcx
            # lea 0(%register,%rcx),%rcx
            out.extend(bytes((0x48 | code >> 3, 0x8D, 0x4C, 0x08 | code & 7, 0)))
            jrcxz(passed)
        if counting and self.again:  # into the loop
            to = self.at + self.again + _AGAIN_HEAD
            out.extend(b"\xe9" + struct.pack("<i", to - (at + len(out) + 5)))
            return bytes(out)
        rip(b"\x48\x8b\x0d", _SAVED_RCX)
        return bytes(out)

    def set_front(self, target: Target, *, counting: bool) -> None:
        """Has the hits counted only, or looked at."""
        if counting == self.counting:
            return
        front = self._front(self.at + self.entry, self.at + self.counted - 5, counting=counting)
        room = self.rest - self.entry
        target.write(self.at + self.entry, front + _nops(room - len(front)))
        self.counting = counting

    # -- what it compares with

    def set_values(
        self, target: Target, regs: Sequence[int], words: Sequence[tuple[int, int]]
    ) -> None:
        """The counter starts with 0."""
        flags = regs[EFLAGS]
        expected = (flags & _LAHF | 2) << 8 | (1 if flags & _OF else 0)
        pairs = [*words][:MAX_WORDS]
        pairs += [(self.data + _ZERO, 0)] * (MAX_WORDS - len(pairs))
        telling = pairs[0][1] if self.n_telling else regs[INDEX[self.order[0]]]
        target.write(
            self.data,
            struct.pack("<6Q", 0, 0, 0, 0, expected, -telling & _WORD)
            + struct.pack("<16Q", *(regs[INDEX[name]] for name in GENERAL))
            + b"".join(struct.pack("<QQ", *pair) for pair in pairs)
            + bytes(8),
        )

    def set_words(self, target: Target, words: Sequence[tuple[int, int]]) -> None:
        """The words that are compared; at least as many as there were."""
        data = b"".join(struct.pack("<QQ", *pair) for pair in words)
        target.write(self.data + _WORDS, data)
        if self.n_telling:  # the one that the front looks at
            target.write(self.data + _NEGATED, struct.pack("<Q", -words[0][1] & _WORD))

    def set_hits(self, target: Target, hits: int) -> None:
        """What the counter starts with."""
        target.write(self.data + _HITS, struct.pack("<Q", hits & _WORD))

    def hits(self, target: Target) -> int:
        """The counter."""
        return int.from_bytes(target.read(self.data + _HITS, 8), "little")

    @staticmethod
    def no_tests(first: int) -> bytes:
        """The room for tests from `first` on, jumped over."""
        room = _TEST * (N_TESTS - first)
        return (bytes((0xEB, room - 2)) if room else b"").ljust(room, b"\x90")

    def clear_tests(self, target: Target) -> None:
        target.write(self.at + self.tests, self.no_tests(0))

    def set_test(self, target: Target, n: int, store: Store, value: int) -> None:
        """The nth test: a word of the extended state must have that value."""
        start = self.at + self.tests + _TEST * n
        code = b""
        for instruction, operand in (
            (store.code, store.to),
            (b"\x48\x8b\x0d", store.to + store.at),  # mov WORD,%rcx
            (b"\x48\x3b\x0d", _EXPECTED + 8 * n),  # cmp VALUE,%rcx
        ):
            code += _rip(instruction, start + len(code), self.data + operand)
        after = start + len(code) + 6
        code += b"\x0f\x85" + struct.pack("<i", self.at + self.reject - after)
        target.write(self.data + _EXPECTED + 8 * n, struct.pack("<Q", value))
        target.write(start, code.ljust(_TEST, b"\x90") + self.no_tests(n + 1))

    # -- a task in it

    def leave_loop(self, offset: int, registers: Registers, target: Target) -> list[int] | None:
        """The registers at the instruction that the one at this offset stands for, in a copy of the
        loop; None when it is in none.  What was counted is stored."""
        counting = 0 < self.again < offset
        steps = self._again_steps if counting else self.steps
        base = 0 if counting else self.rest
        for step in reversed(steps):
            if base + step.start <= offset:
                out = list(registers)
                if counting:
                    self.set_hits(target, out[_RCX])
                    out = self.view(offset, out, target)
                out[RIP] = step.original
                return out
        return None

    def view(self, offset: int, registers: Registers, target: Target) -> list[int]:
        """At one of its traps, or the fault of a word's load; nowhere else does it stop."""
        out = list(registers)
        if offset >= self.rest and not 0 < self.again <= offset:
            return out
        rax, rcx, rdx = struct.unpack("<QQQ", target.read(self.data + _SAVED_RAX, 24))
        out[_RCX] = rcx
        if offset == self.counted or offset >= self.rest:
            return out
        if offset > self.counted:  # a load in the front
            out[_RDX] = rdx
            return out
        flags = registers[_RAX]
        out[_RAX] = rax
        kept = out[EFLAGS] & ~(_LAHF | _OF)
        out[EFLAGS] = kept | (flags >> 8 & _LAHF) | (_OF if flags & 1 else 0)
        return out

    def rewind(self, offset: int, registers: Registers, target: Target) -> tuple[list[int], bool]:
        return self.view(offset, registers, target), True
