"""A loop around a site, copied into its stub.

The way out to the stub and back costs a tight loop more than it takes itself.  So where the code
from the site leads straight back to it, the stub has the whole loop: an iteration is the front of
the stub and the loop's own instructions.

    entry:  the front
            from the site to the branch back, as it is; branches out of the loop go where they went
            the branch, turned round: out of the loop
            from the loop's head to the site
            jmp entry
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from iced_x86 import (
    BlockEncoder,
    FlowControl,
    Instruction,
    InstructionInfoFactory,
    OpKind,
    Register,
    RegisterExt,
)

from relive.tracee.patching.decode import instructions
from relive.tracee.patching.relocate import refusal

RCX: Final = int(Register.RCX)
_MOST: Final = 24
"""Instructions on either side of the site."""
_MAX_INSTRUCTION: Final = 15


class Step(NamedTuple):
    """An instruction of the copy: where it begins, in bytes from the copy's start, and the address
    of the instruction that it stands for."""

    start: int
    original: int


class Loop(NamedTuple):
    """after: from the site on; branch: the one that leads back; before: from the loop's head to the
    site."""

    after: tuple[Instruction, ...]
    branch: Instruction
    before: tuple[Instruction, ...]
    read: Callable[[int, int], bytes]

    @property
    def start(self) -> int:
        """The first address of its code."""
        return (self.before or self.after or (self.branch,))[0].ip

    @property
    def end(self) -> int:
        """The address behind its code."""
        return self.branch.next_ip

    def uses(self, register: int) -> bool:
        """Whether any of its instructions reads or writes some of a 64-bit register."""
        factory = InstructionInfoFactory()
        return any(
            RegisterExt.full_register(used.register) == register
            for instruction in (*self.after, self.branch, *self.before)
            for used in factory.info(instruction).used_registers()
        )

    @property
    def exits(self) -> list[int]:
        """The addresses that it may leave for."""
        found = [
            instruction.near_branch_target
            for instruction in (*self.after, *self.before)
            if instruction.flow_control == FlowControl.CONDITIONAL_BRANCH
        ]
        if self.branch.flow_control == FlowControl.CONDITIONAL_BRANCH:
            found.append(self.branch.next_ip)
        return [*dict.fromkeys(found)]

    def copy(
        self, at: int, entry: int, leave: Callable[[int], int] = lambda target: target
    ) -> tuple[bytes, list[Step]]:
        """The code for the address `at`, which the front at `entry` falls into; its length does not
        depend on either.  Raises OverflowError: out of reach of what it refers to.

        leave: where to go instead of an address outside of it.
        """
        out = bytearray()
        steps: list[Step] = []

        def branch(opcode: bytes, to: int) -> None:
            displacement = to - (at + len(out) + len(opcode) + 4)
            out.extend(opcode + displacement.to_bytes(4, "little", signed=True))

        def put(instruction: Instruction) -> None:
            steps.append(Step(len(out), instruction.ip))
            if instruction.flow_control == FlowControl.CONDITIONAL_BRANCH:
                branch(_condition(self.read, instruction), leave(instruction.near_branch_target))
            elif instruction.is_ip_rel_memory_operand:
                out.extend(_encode(instruction.copy(), at + len(out)))
            else:
                out.extend(self.read(instruction.ip, instruction.len))

        for instruction in self.after:
            put(instruction)
        steps.append(Step(len(out), self.branch.ip))
        conditional = self.branch.flow_control == FlowControl.CONDITIONAL_BRANCH
        if conditional and not self.before:
            branch(_condition(self.read, self.branch), entry)
            branch(b"\xe9", leave(self.branch.next_ip))
            return bytes(out), steps
        if conditional:
            first, second = _condition(self.read, self.branch)
            branch(bytes((first, second ^ 1)), leave(self.branch.next_ip))
        for instruction in self.before:
            put(instruction)
        steps.append(Step(len(out), self.after[0].ip if self.after else self.branch.ip))
        branch(b"\xe9", entry)
        return bytes(out), steps


def find(read: Callable[[int, int], bytes], site: int) -> Loop | None:
    """The loop that the instruction at `site` is in, if the code leads straight back to it."""
    after: list[Instruction] = []
    for instruction in instructions(read, site, _MOST * _MAX_INSTRUCTION):
        if len(after) == _MOST:
            return None
        flow = instruction.flow_control
        if _is_jcc(instruction) or flow == FlowControl.UNCONDITIONAL_BRANCH:
            if instruction.op0_kind != OpKind.NEAR_BRANCH64:
                return None
            head = instruction.near_branch_target
            if head <= site and site - head < _MOST * _MAX_INSTRUCTION:
                before = _straight(read, head, site)
                return None if before is None else Loop(tuple(after), instruction, before, read)
        if not _plain(instruction):
            return None
        after.append(instruction)
    return None


def _straight(
    read: Callable[[int, int], bytes], head: int, site: int
) -> tuple[Instruction, ...] | None:
    """The instructions from `head` that lead to `site`."""
    found: list[Instruction] = []
    if head == site:
        return ()
    for instruction in instructions(read, head, site - head):
        if not _plain(instruction) or len(found) == _MOST:
            return None
        found.append(instruction)
        if instruction.next_ip == site:
            return tuple(found)
    return None


def _is_jcc(instruction: Instruction) -> bool:
    return bool(
        instruction.flow_control == FlowControl.CONDITIONAL_BRANCH
        and instruction.is_jcc_short_or_near
    )


def _plain(instruction: Instruction) -> bool:
    """Whether it may be copied: it falls through, or branches out on a condition."""
    if _is_jcc(instruction):
        return instruction.op0_kind == OpKind.NEAR_BRANCH64
    return instruction.flow_control == FlowControl.NEXT and refusal(instruction) is None


def _condition(read: Callable[[int, int], bytes], instruction: Instruction) -> bytes:
    """The opcode of a conditional branch in its long form (Intel SDM vol. 2, Jcc)."""
    code = read(instruction.ip, instruction.len)
    at = instruction.len - (1 if instruction.is_jcc_short else 4) - 1
    return bytes((0x0F, 0x80 | code[at] & 0xF))


def _encode(instruction: Instruction, at: int) -> bytes:
    encoder = BlockEncoder(64)
    encoder.add(instruction)
    try:
        return encoder.encode(at)
    except ValueError as e:
        raise OverflowError(str(e)) from None
