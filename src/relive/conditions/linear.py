"""Runs the stack code of `ir.linearize`: what machines that lower from it are held to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from relive.conditions.ir import (
    UNARY_OPS,
    WORD_MASK,
    BinaryOp,
    Const,
    Linear,
    Load,
    Outcome,
    Size,
)
from relive.conditions.reference import Read, Undecided, binary, register, unary
from relive.conditions.reference import value as value_of


def evaluate(linear: Linear, regs: Sequence[int], read: Read, hits: int) -> Outcome:
    """Decide a hit; arguments as for `reference.evaluate`."""
    try:
        return Outcome.MATCH if value(linear, regs, read, hits) else Outcome.REJECT
    except Undecided:
        return Outcome.UNDECIDED


def value(linear: Linear, regs: Sequence[int], read: Read, hits: int) -> int:
    """The word the code leaves.  Raises Undecided as `reference.value` does."""
    stack: list[int] = []
    here = 0
    while here < len(linear.code):
        op, operand = linear.code[here]
        here += 1
        match op:
            case "const":
                stack.append(operand)
            case "reg":
                stack.append(register(regs, operand))
            case "hits":
                stack.append(hits & WORD_MASK)
            case "load":
                load = Load(Const(stack.pop()), cast(Size, abs(operand)), operand < 0)
                stack.append(value_of(load, regs, read, hits))
            case "bool":
                stack[-1] = int(stack[-1] != 0)
            case "jump":
                here = operand
            case "branch_false" | "branch_true":
                if (stack.pop() != 0) == (op == "branch_true"):
                    here = operand
            case "jump_false" | "jump_true":
                if (stack[-1] != 0) == (op == "jump_true"):
                    stack[-1] = int(stack[-1] != 0)
                    here = operand
                else:
                    stack.pop()
            case _ if op in UNARY_OPS:
                stack.append(unary(op, stack.pop()))
            case _:
                b = stack.pop()
                stack.append(binary(cast(BinaryOp, op), stack.pop(), b))
        assert len(stack) <= linear.max_depth, "the code uses more stack than it says"
    assert len(stack) == 1, "the code leaves one word"
    return stack[0]
