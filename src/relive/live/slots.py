"""Copies of single instructions, so that a thread gets past a breakpoint without a single-step.

A copy lies in memory mapped into the process for it, followed by a jump back behind the
original.  Threads can be in it while others run over the breakpoint, which never has to be
taken out.  The kernel's kprobes do the same ("boosting").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from relive.tracee.patching.space import ANY

if TYPE_CHECKING:
    from relive.tracee.patching import Arenas

SLOT_SIZE: Final = 64
_MAX_INSTRUCTION: Final = 15


class Slot(NamedTuple):
    """A copy at `address`; `length` bytes of it are the instruction, then comes the jump.

    original_length: bytes of the instruction where it came from.
    """

    address: int
    length: int
    original_length: int


NO_SLOT: Final = Slot(0, 0, 0)


def make(arenas: Arenas, address: int, code: bytes) -> tuple[Slot, bytes] | None:
    """Room for a copy of the instruction at `address`, and what is to be written there.

    code: bytes from there on, as the program has them.  None when the instruction does not keep
    its meaning elsewhere as a single instruction (calls, for one).  Raises OSError.
    """
    from iced_x86 import Decoder

    from relive.tracee.patching.relocate import CannotRelocate, relocate

    decoder = Decoder(64, code[:_MAX_INSTRUCTION], ip=address)
    instruction = decoder.decode()
    if instruction.is_invalid:
        return None
    at = arenas.place(instruction.next_ip, ANY, 0, SLOT_SIZE)
    try:
        copy = relocate([instruction], at)
    except CannotRelocate:
        copy = None
    if (
        copy is None
        or len(copy.steps) != 2
        or len(copy.code) > SLOT_SIZE
        or copy.steps[1].original != instruction.next_ip
        or copy.steps[0].start
        or any(not step.exact for step in copy.steps)
        or instruction.is_jcc_short_or_near
        or instruction.is_jcc_near
        or instruction.is_loop
        or instruction.is_loopcc
        or instruction.is_jcx_short
    ):
        arenas.give_back(at, at + SLOT_SIZE)
        return None
    return Slot(at, copy.steps[1].start, instruction.len), bytes(copy.code)
