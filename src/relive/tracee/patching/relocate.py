"""Instructions made to run elsewhere with the same effect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from iced_x86 import BlockEncoder, Code, Instruction, OpKind, Register

from relive.tracee.patching.decode import is_call, is_terminator

_NOWHERE: Final = 1
"""An address that no branch targets: the encoder must not take a branch to the instruction
itself as one inside the copy, it has to pass the site again."""

_CALL_TO_JUMP: Final = {
    Code.CALL_REL32_64: Code.JMP_REL32_64,
    Code.CALL_RM64: Code.JMP_RM64,
}
_REFUSED: Final = {
    Code.INT3: "the program's own breakpoint instruction",
    Code.INT1: "the program's own breakpoint instruction",
    Code.SYSENTER: "sysenter returns to a fixed address",
    Code.MOV_SREG_R32M16: "a load of a segment register delays traps",
    Code.MOV_SREG_R64M16: "a load of a segment register delays traps",
    Code.MOV_SREG_RM16: "a load of a segment register delays traps",
}


class CannotRelocate(ValueError):
    """The instruction can't be run elsewhere; the message says why."""


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction of a copy."""

    start: int
    """Bytes from the start of the copy."""
    original: int
    """Where a task that is here would be in the original code..."""
    exact: bool
    """... with the same registers, and memory (unless it is where a call is made)."""
    rsp: int = 0
    """... but rsp is less by this in the copy."""
    rcx: bool = False
    """... but rcx has an address in the copy instead of `original`."""


@dataclass(slots=True)
class Copy:
    """Relocated instructions."""

    code: bytearray = field(default_factory=bytearray)
    steps: list[Step] = field(default_factory=list)

    def step_at(self, offset: int) -> Step | None:
        """The step that begins exactly at this offset."""
        for step in self.steps:
            if step.start == offset:
                return step
        return None

    def within(self, offset: int) -> Step | None:
        """The last step that begins at or before this offset."""
        found = None
        for step in self.steps:
            if step.start <= offset:
                found = step
        return found


def refusal(instruction: Instruction) -> str | None:
    """Why an instruction can't be relocated at all; None if it can."""
    code = instruction.code
    if code in _REFUSED:
        return _REFUSED[code]
    if is_call(instruction):
        if code not in _CALL_TO_JUMP:
            return "a far call, or one with an operand size of 16 bits"
        if instruction.op0_kind == OpKind.REGISTER and instruction.op0_register == Register.RSP:
            return "a call to the stack pointer"
        if (
            instruction.op0_kind == OpKind.MEMORY
            and instruction.memory_base == Register.RSP
            and _signed(instruction.memory_displacement) < 0
        ):
            return "a call through memory that the call itself overwrites"
    return None


def relocate(instructions: Sequence[Instruction], at: int) -> Copy:
    """The instructions for the address `at`, with a jump back to what follows them.

    Raises CannotRelocate.
    """
    copy = Copy()
    for instruction in instructions:
        why = refusal(instruction)
        if why:
            raise CannotRelocate(why)
        copy.steps.append(Step(len(copy.code), instruction.ip, True))
        if instruction.code in _CALL_TO_JUMP:
            _call(copy, instruction, at)
            continue
        copy.code += _encode(instruction.copy(), at + len(copy.code))
        if instruction.code == Code.SYSCALL:
            # It leaves its own return address in rcx.
            copy.steps.append(Step(len(copy.code), instruction.next_ip, False, rcx=True))
            _lea_rcx(copy, instruction.next_ip, at)
    last = instructions[-1]
    if not is_terminator(last) and last.code not in _CALL_TO_JUMP:
        copy.steps.append(Step(len(copy.code), last.next_ip, True))
        _jump(copy, last.next_ip, at)
    return copy


def _encode(instruction: Instruction, at: int) -> bytes:
    # Absolute targets stay as they are; only the meaning of "inside the block" changes.
    instruction.ip = _NOWHERE
    encoder = BlockEncoder(64)
    encoder.add(instruction)
    try:
        return encoder.encode(at)
    except ValueError as error:
        raise CannotRelocate(f"out of reach of what it refers to: {error}") from None


def _relative(copy: Copy, opcode: bytes, to: int, at: int) -> None:
    displacement = to - (at + len(copy.code) + len(opcode) + 4)
    if not -(1 << 31) <= displacement < 1 << 31:
        raise CannotRelocate("the code is out of reach of the stub")
    copy.code += opcode + displacement.to_bytes(4, "little", signed=True)


def _jump(copy: Copy, to: int, at: int) -> None:
    _relative(copy, b"\xe9", to, at)


def _lea_rcx(copy: Copy, to: int, at: int) -> None:
    _relative(copy, b"\x48\x8d\x0d", to, at)


def _call(copy: Copy, instruction: Instruction, at: int) -> None:
    """A call that leaves the original return address on the stack.

    The processor predicts returns with a stack of its own, which has to see a call for the
    return: hence the call over two bytes, whose address on the stack is replaced at once.
    (A call to the very next instruction is taken for a way to read rip and not predicted.)
    """
    jump = instruction.copy()
    jump.code = _CALL_TO_JUMP[instruction.code]
    if jump.op0_kind == OpKind.MEMORY and jump.memory_base == Register.RSP:
        displacement = (jump.memory_displacement + 8) & (1 << 64) - 1
        jump.memory_displacement = displacement
        # iced: 1 is a displacement of 8 bits, 8 one of 32 bits sign-extended.
        jump.memory_displ_size = 1 if displacement <= 127 else 8
    elif jump.op0_kind == OpKind.NEAR_BRANCH64:
        jump.near_branch64 = instruction.near_branch_target
    returns = instruction.next_ip
    copy.code += b"\xe8\x02\x00\x00\x00"  # call 1f
    copy.code += b"\x0f\x0b"  # ud2
    copy.steps.append(Step(len(copy.code), instruction.ip, True, rsp=8))
    copy.code += b"\x48\x8d\x64\x24\x08"  # 1: lea 8(%rsp), %rsp
    copy.steps.append(Step(len(copy.code), instruction.ip, True))
    push_at = len(copy.code)
    copy.code += b"\xff\x35\x00\x00\x00\x00"  # push return_address(%rip)
    copy.steps.append(Step(len(copy.code), instruction.ip, True, rsp=8))
    copy.code += _encode(jump, at + len(copy.code))
    copy.code[push_at + 2 : push_at + 6] = (len(copy.code) - push_at - 6).to_bytes(4, "little")
    copy.code += returns.to_bytes(8, "little")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
