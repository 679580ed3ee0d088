"""What runs at an in-process site, and what a task inside it looked like before.

The frame, below the red zone, lowest address first:

    rax | saved scratch registers | flags, hits (if asked for) | temporaries

rax holds the flags meanwhile: SF ZF AF PF CF in ah (lahf), OF in al (seto).  lahf, seto and
sahf with an addition that makes OF are several times cheaper than pushf and popf, and DF is
not touched by anything here.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from relive.arch import x86_64
from relive.conditions import ir
from relive.conditions.inprocess import asm
from relive.conditions.inprocess.asm import Label, Mem
from relive.conditions.inprocess.lower_x86 import EFLAGS, INDEX, Frame
from relive.conditions.inprocess.shared import (
    Counters,
    RingAddresses,
)
from relive.tracee.patching import Registers, Target

MAX_FRAME: Final = 1024
"""Bytes of frame that a stub may take from the program's stack."""

_RSP: Final = x86_64.BY_NAME["rsp"].index
_FS_BASE: Final = x86_64.BY_NAME["fs_base"].index
_RAX: Final = x86_64.BY_NAME["rax"].index
_STATUS: Final = 0x8D5
"""CF PF AF ZF SF OF."""
_IN_AH: Final = 0xD5
_OF_BIT: Final = 11
_ZF: Final = 0x40
_WORD: Final = (1 << 64) - 1
RECORD_HEADER: Final = 4
"""Words of a record before its values: position + 1 (written last), site, thread, hit."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop at every candidate."""


@dataclass(frozen=True, slots=True)
class Count:
    """Stop at the `stop_at`-th candidate only; 0: at none."""

    stop_at: int = 0


@dataclass(frozen=True, slots=True)
class Collect:
    """Append the values of expressions to the ring at every candidate."""

    values: tuple[ir.Expr, ...]
    lose: bool = False
    """When the ring is full: count the record as lost, instead of waiting for the supervisor."""


class Point(Enum):
    """What an int3 of a stub says."""

    MATCH = "match"
    UNDECIDED = "undecided"
    RING_FULL = "ring full"


class Flags(Enum):
    LIVE = 0
    AH = 1
    """OF is live, the others are in ah."""
    AX = 2


class State(NamedTuple):
    """What a task has done so far at an instruction."""

    lowered: int = 0
    """Bytes that rsp is lower than the program's."""
    saved: bool = False
    """All registers are in their slots; else only the flags are elsewhere, and rax is in its
    slot once it was changed."""
    rax_saved: bool = False
    flags: Flags = Flags.LIVE
    counted: bool = False
    candidate: bool = False
    undecided: bool = False
    done: bool = False
    """The hit is dealt with; what is left is to restore the registers."""
    reserved: int = -1
    """Register with the position of a record reserved in the ring..."""
    if_zero: bool = False
    """... if ZF is set."""


class TooComplex(ValueError):
    """The condition needs a larger frame than a stub may take."""


@dataclass(slots=True)
class Stub:
    """The body of an in-process site: a relive.tracee.patching.Body."""

    code: asm.Code
    entry: int
    frame: Frame
    counters: Counters
    states: Sequence[tuple[int, State]]
    flags_away: Sequence[tuple[int, int, int]]
    loads: frozenset[int]
    points: dict[int, Point]
    locks: tuple[int, ...]
    """Offsets of bytes that are a lock prefix, if several tasks may run the stub at once."""
    site_id: int = 0
    ring: RingAddresses | None = None
    sources: Sequence[asm.Operand] = ()
    """Where what goes into a record is, once its place is reserved: hit number, values."""
    bases: bool = True
    locked: bool = False

    def assemble(self, at: int) -> tuple[bytes, int]:
        code = self.code.at(at)
        if self.locked:
            out = bytearray(code)
            for offset in self.locks:
                out[offset] = asm.LOCK
            code = bytes(out)
        return code, self.entry

    def view(self, offset: int, registers: Registers, target: Target) -> list[int]:
        return self._before(self._state(offset), offset, registers, target)

    def rewind(self, offset: int, registers: Registers, target: Target) -> tuple[list[int], bool]:
        state = self._state(offset)
        out = self._before(state, offset, registers, target)
        if state.reserved >= 0 and (not state.if_zero or registers[EFLAGS] & _ZF):
            # Others wait for this record: it can't be taken back.
            self._complete(registers[INDEX[state.reserved]], registers, out, target)
            return out, True
        if state.done:
            return out, True
        if state.counted:
            self.counters.hits -= 1
        if state.candidate:
            self.counters.candidates -= 1
        if state.undecided:
            self.counters.undecided -= 1
        return out, False

    def settle(self, offset: int, registers: Registers, target: Target) -> list[int] | None:
        """For a task that must not stay here long: the registers after the body, if the hit is
        as good as decided; None if it can stay.  Other tasks may run meanwhile."""
        state = self._state(offset)
        if state.done or (state.reserved >= 0 and (not state.if_zero or registers[EFLAGS] & _ZF)):
            out, done = self.rewind(offset, registers, target)
            assert done
            return out
        return None

    def hit(self, offset: int, registers: Registers, target: Target) -> int | None:
        """The number of the hit that a task is at which trapped or faulted; None if the stub does
        not keep it."""
        state = self._state(offset)
        if self.frame.hits is None or not state.counted or state.lowered != self.frame.size:
            return None
        return _word(target, registers[_RSP] + 8 * self.frame.hits)

    def counted(self, offset: int) -> bool:
        """Whether a task that is here has counted its hit."""
        return self._state(offset).counted

    def is_candidate(self, offset: int) -> bool:
        return self._state(offset).candidate

    def _state(self, offset: int) -> State:
        found = State()
        for start, state in self.states:
            if start > offset:
                break
            found = state
        return found

    def _before(self, state: State, offset: int, registers: Registers, target: Target) -> list[int]:
        out = list(registers)
        rax = registers[_RAX]
        for start, end, slot in self.flags_away:
            if start <= offset < end:
                rax = _word(target, registers[_RSP] + slot)
        if state.flags is not Flags.LIVE:
            flags = rax >> 8 & _IN_AH
            if state.flags is Flags.AX:
                flags |= (rax & 1) << _OF_BIT
                keep = _WORD ^ _STATUS
            else:
                keep = _WORD ^ _IN_AH
            out[EFLAGS] = registers[EFLAGS] & keep | flags
        rsp = registers[_RSP] + state.lowered
        base = rsp - self.frame.size
        for number, slot in self.frame.saved.items():
            if state.saved or (state.rax_saved and number == asm.RAX):
                out[INDEX[number]] = _word(target, base + 8 * slot)
        out[_RSP] = rsp & _WORD
        return out

    def _complete(
        self, position: int, registers: Registers, before: Registers, target: Target
    ) -> None:
        """Writes the record for which a task has reserved the place."""
        assert self.ring is not None
        words = [self.site_id, before[_FS_BASE] if self.bases else 0]
        for source in self.sources:
            if isinstance(source, int):
                words.append(registers[INDEX[source]])
            elif isinstance(source, Mem):
                words.append(_word(target, registers[_RSP] + source.disp))
            else:
                assert isinstance(source.target, Label)
                at = source.target.at
                words.append(int.from_bytes(self.code.code[at : at + 8], "little"))
        at = self.ring.records + (position & (self.ring.size - 1))
        target.write(at + 8, struct.pack(f"<{len(words)}Q", *words))
        target.write(at, (position + 1).to_bytes(8, "little"))


def _word(target: Target, addr: int) -> int:
    return int.from_bytes(target.read(addr, 8), "little")
