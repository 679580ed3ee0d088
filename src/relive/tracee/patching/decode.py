"""What can be known of a function's code before some of it is displaced.

Where execution may enter other than by falling through: targets of direct branches, entries
of jump tables that are recognised, the places calls return to.  None of this has to be
complete: it decides which patch is *good*, not which is safe (see the package's text).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from iced_x86 import Code, Decoder, FlowControl, Instruction, Mnemonic, OpKind, Register

MAX_INSTRUCTION: Final = 15
_MAX_TABLE: Final = 4096
_PADDING: Final = 64
_TERMINATORS: Final = frozenset(
    (
        FlowControl.UNCONDITIONAL_BRANCH,
        FlowControl.INDIRECT_BRANCH,
        FlowControl.RETURN,
        FlowControl.EXCEPTION,
    )
)
_DIRECT: Final = frozenset(
    (
        FlowControl.UNCONDITIONAL_BRANCH,
        FlowControl.CONDITIONAL_BRANCH,
        FlowControl.XBEGIN_XABORT_XEND,
    )
)
_SYSTEM_CALLS: Final = frozenset((Code.SYSCALL, Code.INT_IMM8))

Read = Callable[[int, int], bytes]


@dataclass(slots=True)
class Function:
    """A stretch of code, as analysed from its original bytes."""

    start: int
    end: int
    targets: set[int] = field(default_factory=set)
    """Addresses that a branch or a jump table is known to enter."""
    returns: set[int] = field(default_factory=set)
    """Addresses that a call returns to."""
    holes: list[tuple[int, int]] = field(default_factory=list)
    """Padding that is never executed: [start, end)."""
    exact: bool = False
    """Whether start and end are those of a function."""
    complete: bool = True
    """Whether every way to enter but by unwinding is in `targets`: the bounds were known and
    every indirect jump's table was found."""

    def hole_at(self, addr: int) -> int:
        """Bytes of padding that begin at `addr`."""
        for start, end in self.holes:
            if start == addr:
                return end - start
        return 0

    def holds(self, addr: int) -> bool:
        """Whether an address is known to be in the same function."""
        return self.exact and self.start <= addr < self.end

    def in_hole(self, addr: int) -> bool:
        """Whether an address lies in padding."""
        return any(start <= addr < end for start, end in self.holes)


def is_terminator(instruction: Instruction) -> bool:
    """Whether execution never falls through to the next instruction."""
    return instruction.flow_control in _TERMINATORS


def is_call(instruction: Instruction) -> bool:
    # The flow of syscall and its kin is called a call, too.
    return instruction.mnemonic == Mnemonic.CALL


def is_system_call(instruction: Instruction) -> bool:
    return instruction.code in _SYSTEM_CALLS


def instructions(read: Read, addr: int, size: int) -> Iterator[Instruction]:
    """Decodes from `addr`, which is the start of an instruction; ends at the first that is
    invalid or not readable."""
    decoder = Decoder(64, _read_some(read, addr, size), ip=addr)
    for instruction in decoder:
        if instruction.code == Code.INVALID:
            return
        yield instruction


def analyse(read: Read, start: int, end: int, *, exact: bool) -> Function:
    """Analyses [start, end).

    read: gives original bytes, raising OSError for what can't be read.
    exact: these are the bounds of a function, so that decoding begins at an instruction.
    """
    found = Function(start, end, exact=exact, complete=exact)
    code = _read_some(read, start, end - start + _PADDING)
    after_terminator = False
    hole = -1
    indirect = False
    tables: list[int] = []
    doubtful: list[tuple[int, int]] = []
    for instruction in Decoder(64, code, ip=start):
        ip = instruction.ip
        padding = instruction.mnemonic in (Mnemonic.NOP, Mnemonic.INT3)
        if padding and (after_terminator or hole >= 0):
            hole = ip if hole < 0 else hole
            after_terminator = False
            continue
        if hole >= 0:
            _add_hole(found, hole, ip, code, doubtful)
            hole = -1
        if ip >= end:
            break
        if instruction.code == Code.INVALID:
            found.complete = False
        flow = instruction.flow_control
        after_terminator = flow in _TERMINATORS
        if instruction.mnemonic == Mnemonic.CALL:
            found.returns.add(instruction.next_ip)
        elif flow in _DIRECT:
            if instruction.op0_kind == OpKind.NEAR_BRANCH64:
                found.targets.add(instruction.near_branch_target)
        elif flow == FlowControl.INDIRECT_BRANCH:
            indirect = True
        relative = instruction.is_ip_rel_memory_operand
        if (relative and instruction.mnemonic == Mnemonic.LEA) or (
            flow == FlowControl.INDIRECT_BRANCH and instruction.memory_index != Register.NONE
        ):
            tables.append(instruction.memory_displacement)
    else:
        if hole >= 0:
            _add_hole(found, hole, start + len(code), code, doubtful)
    if indirect:
        sizes = [_add_table(found, read, table) for table in dict.fromkeys(tables)]
        if not any(sizes):
            found.complete = False
    if found.complete:
        found.holes = sorted(found.holes + doubtful)
    found.holes = [h for h in found.holes if not _entered(found, *h)]
    return found


def _read_some(read: Read, addr: int, size: int) -> bytes:
    """Up to `size` bytes: fewer at the end of what can be read."""
    while size > 0:
        try:
            return read(addr, size)
        except OSError:
            end = addr + size
            size = ((end - 1) & ~0xFFF) - addr
    return b""


def _add_hole(
    found: Function, start: int, end: int, code: bytes, doubtful: list[tuple[int, int]]
) -> None:
    """Keeps padding that ends where alignment would put its end, or is all int3.

    Compilers also align to 8 bytes inside a function (gcc's -falign-jumps=16:11:8).  That is
    taken for padding only where every way into the function is known.
    """
    content = code[start - found.start : end - found.start]
    if end % 16 == 0 or content == b"\xcc" * len(content):
        found.holes.append((start, end))
    elif end % 8 == 0 and end < found.end:
        doubtful.append((start, end))


def _entered(found: Function, start: int, end: int) -> bool:
    return any(start <= target < end for target in found.targets)


def _add_table(found: Function, read: Read, table: int) -> int:
    """Reads a table of 32-bit offsets from itself, or of addresses, as compilers make for
    switch and computed goto; the number of entries that lead into the function.

    Reading too far is harmless: a target too many only makes the patcher more careful.
    """
    words = _read_some(read, table, 8 * _MAX_TABLE)
    count = 0
    for size, base in ((4, table), (8, 0)):
        entries = 0
        for at in range(0, len(words) - size + 1, size):
            value = int.from_bytes(words[at : at + size], "little", signed=size == 4)
            if not found.start <= base + value < found.end:
                break
            found.targets.add(base + value)
            entries += 1
        count += entries
    return count
