"""How a function is left: where all its returns are, if that can be known."""

from __future__ import annotations

from typing import Final

from iced_x86 import FlowControl, Mnemonic, OpKind

from relive.tracee.patching.decode import Read, analyse, instructions

_BRANCHES: Final = (FlowControl.UNCONDITIONAL_BRANCH, FlowControl.CONDITIONAL_BRANCH)


def returns(read: Read, start: int, end: int) -> list[int] | str:
    """Addresses of all return instructions of the function [start, end); or, in words, why it
    may be left by another way.

    read: gives original bytes.  A call that does not return (exit, longjmp, a throw) is none.
    """
    if not analyse(read, start, end, exact=True).complete:
        return "it has a jump whose targets are not known"
    found = []
    covered = start
    for instruction in instructions(read, start, end - start):
        covered = instruction.next_ip
        flow = instruction.flow_control
        if flow == FlowControl.RETURN:
            if instruction.mnemonic != Mnemonic.RET:
                return "it returns in a way that is not a plain return"
            found.append(instruction.ip)
        elif flow in _BRANCHES and instruction.op0_kind == OpKind.NEAR_BRANCH64:
            target = instruction.near_branch_target
            if not start <= target < end:
                return f"it is left by a jump, at {instruction.ip:#x}"
    if covered != end:
        return "not all of its code can be read"
    return found or "it has no return"
