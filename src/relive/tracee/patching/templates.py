"""The forms a jump at a site can take, and what each demands of its displacement.

See the package's text for why each is safe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from iced_x86 import Instruction

from relive.tracee.patching.decode import Function, is_call, is_system_call, is_terminator
from relive.tracee.patching.space import Allowed

JUMP_SIZE: Final = 5
_JMP: Final = 0xE9
_JMP_SHORT: Final = 0xEB
_INT3: Final = 0xCC
_PREFIX: Final = 0x2E
"""CS override: without meaning before a near jump (Intel SDM vol. 2, 2.1.1)."""

BREAKPOINT: Final = (_INT3,)
# Not instructions of 64-bit mode (Intel SDM vol. 2, appendix A.3, superscript i64): SIGILL.
# Not 62, C4, C5, D5, which are prefixes by now.
_UNDEFINED: Final = (
    0x06, 0x07, 0x0E, 0x16, 0x17, 0x1E, 0x1F, 0x27, 0x2F, 0x37, 0x3F, 0x60, 0x61,
    0x82, 0x9A, 0xCE, 0xD4, 0xD6, 0xEA,
)  # fmt: skip
_HLT: Final = 0xF4  # privileged: SIGSEGV
TRAPPING: Final = tuple(sorted((*_UNDEFINED, _HLT, *BREAKPOINT)))
"""Bytes that, executed as the start of an instruction, stop the task there whatever follows."""


class Form(Enum):
    JUMP = "jump"
    """The displaced instructions have room for the jump."""
    PUN = "pun"
    """The end of the jump's displacement is the unchanged start of the next instruction."""
    SHORT = "short"
    """A two-byte jump to padding nearby, which holds the jump."""
    BREAKPOINT = "breakpoint"
    """int3: every hit stops.  Not in-process."""


@dataclass(frozen=True, slots=True)
class Template:
    """One way to patch a site."""

    form: Form
    count: int
    """Instructions displaced."""
    span: int
    """Bytes of them, with the padding after a last one that does not fall through."""
    head: bytes
    """What the site begins with, up to the displacement."""
    allowed: Allowed
    """Values of the displacement's bytes."""
    jump_at: int
    """Where the long jump's displacement is, in bytes from the site."""


def templates(
    code: Sequence[Instruction],
    function: Function,
    limit: int,
    current: Callable[[int], int],
    hole_free: Callable[[int, int], bool],
) -> Iterator[Template]:
    """All forms possible, the best first; ends with none, or with Form.BREAKPOINT.

    code: the original instructions from the site on.
    limit: first address that belongs to another site: nothing from there on may change.
    current: the byte in memory at an address (other sites' patches included).
    hole_free: whether padding [start, end) may be written.
    """
    whole: list[Template] = []
    puns: list[Template] = []
    for count, span in _spans(code, function, limit, hole_free):
        allowed = _entries_trap(code, count, span, function)
        if span >= JUMP_SIZE:
            whole += _fill(Form.JUMP, count, span, bytes((_JMP,)), allowed, code[0].ip, current)
            break
        # From the most free bytes to the fewest.
        for prefixes in range(span):
            head = bytes((_PREFIX,)) * prefixes + bytes((_JMP,))
            puns += _fill(Form.PUN, count, span, head, allowed, code[0].ip, current)
    single = bool(whole) and whole[0].count == 1
    if function.complete or single:
        yield from whole
        # More instructions displaced: more room to choose from.
        yield from sorted(puns, key=lambda t: (-t.count, len(t.head)))
    else:
        yield from sorted(puns, key=lambda t: (t.count, len(t.head)))
        yield from whole
    yield from _short(code, function, limit, hole_free)
    yield Template(Form.BREAKPOINT, 1, code[0].len, bytes((_INT3,)), (), 0)


def _spans(
    code: Sequence[Instruction],
    function: Function,
    limit: int,
    hole_free: Callable[[int, int], bool],
) -> Iterator[tuple[int, int]]:
    """How many instructions may be displaced together, and their bytes, until there is room."""
    site = code[0].ip
    for count, instruction in enumerate(code, 1):
        if count > 1 and (instruction.ip in function.targets or instruction.ip in function.returns):
            return
        if instruction.next_ip > limit:
            return
        span = instruction.next_ip - site
        if is_terminator(instruction):
            end = min(instruction.next_ip + function.hole_at(instruction.next_ip), limit)
            while site + span < end and hole_free(site + span, site + span + 1):
                span += 1
            yield count, span
            return
        yield count, span
        # Whatever is after these is entered from elsewhere: by a return, by the kernel.
        if span >= JUMP_SIZE or is_call(instruction) or is_system_call(instruction):
            return


def _entries_trap(
    code: Sequence[Instruction], count: int, span: int, function: Function
) -> set[int]:
    """Offsets where the patch must trap, because something might be executed from there."""
    site = code[0].ip
    offsets = {instruction.ip - site for instruction in code[1:count]}
    offsets |= {a - site for a in range(site + 1, site + span) if a in function.targets}
    return offsets


def _fill(
    form: Form,
    count: int,
    span: int,
    head: bytes,
    trap_at: set[int],
    site: int,
    current: Callable[[int], int],
) -> Iterator[Template]:
    """The template with its displacement's demands, first with int3 as the only trap."""
    jump_at = len(head)
    if any(offset < jump_at for offset in trap_at):
        return
    for traps in (BREAKPOINT, TRAPPING):
        allowed: list[Sequence[int] | None] = []
        for offset in range(jump_at, jump_at + 4):
            if offset >= span:
                allowed.append((current(site + offset),))
            elif offset in trap_at:
                allowed.append(traps)
            else:
                allowed.append(None)
        yield Template(form, count, span, head, tuple(allowed), jump_at)
        if not any(offset in trap_at for offset in range(jump_at, min(span, jump_at + 4))):
            return


def _short(
    code: Sequence[Instruction],
    function: Function,
    limit: int,
    hole_free: Callable[[int, int], bool],
) -> Iterator[Template]:
    site, size = code[0].ip, code[0].len
    if size < 2 or site + size > limit or site + 1 in function.targets:
        return
    for start, end in function.holes:
        at = max(start, site + 2 - 128)
        if at + JUMP_SIZE <= min(end, site + 2 + 127 + JUMP_SIZE) and hole_free(
            start, at + JUMP_SIZE
        ):
            head = bytes((_JMP_SHORT, (at - site - 2) & 0xFF))
            yield Template(Form.SHORT, 1, size, head, (None,) * 4, at + 1 - site)
