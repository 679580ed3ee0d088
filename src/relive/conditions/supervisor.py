"""The supervisor evaluator: conditions decided outside the program, at a stop of ptrace.

The baseline: it needs nothing but the permission to trace, works at any instruction and on
data, and takes any condition.  A rejected hit costs two context switches and a few system
calls.  The C core runs `ir.linearize`'s stack code on the registers of the stopped task, so no
Python runs for a hit that is rejected.
"""

from __future__ import annotations

import struct
from typing import Final, TypeAlias

from relive import _core
from relive.conditions.ir import Expr, Linear, LinearOp, Outcome, linearize, word

#: in the order of enum cond_opcode of src/core/livecond.h
OPCODES: Final[tuple[LinearOp, ...]] = (
    "const", "reg", "hits", "load", "neg", "not", "lnot", "bool",
    "add", "sub", "mul", "udiv", "sdiv", "urem", "srem",
    "and", "or", "xor", "shl", "lshr", "ashr",
    "eq", "ne", "ult", "ule", "slt", "sle",
    "jump", "branch_false", "branch_true", "jump_false", "jump_true",
)  # fmt: skip
_NUMBER: Final = {name: number for number, name in enumerate(OPCODES)}
_INSTRUCTION: Final = struct.Struct("<IIQ")
_MAX_STACK: Final = 4096

Code: TypeAlias = tuple[bytes, int]
"""What the C core takes: the encoded instructions, and words of stack they need."""


def supports(condition: Expr, collect: tuple[Expr, ...] = ()) -> str | None:
    """Why the supervisor can't have this condition and these values to collect; None when it can.

    Whatever `ir.check` allows, it can.
    """
    if len(collect) > MAX_COLLECT:
        return f"at most {MAX_COLLECT} values are collected at a site"
    try:
        for expr in (condition, *collect):
            lower(expr)
    except ValueError as error:
        return str(error)
    return None


MAX_COLLECT: Final = 32


def lower(expr: Expr) -> Code:
    """An expression as the C core runs it.  Raises ValueError for one that `ir.check` refuses."""
    return encode(linearize(expr))


def encode(linear: Linear) -> Code:
    """Stack code as bytes."""
    if linear.max_depth > _MAX_STACK:
        raise ValueError(f"the condition needs {linear.max_depth} words of stack")
    code = b"".join(_INSTRUCTION.pack(_NUMBER[op], 0, word(operand)) for op, operand in linear.code)
    return code, linear.max_depth


def evaluate(expr: Expr, registers: tuple[int, ...], pid: int, hits: int) -> Outcome:
    """Decide as at a hit, on the memory of a process that may be traced, or one's own.

    registers: the 27 words of struct user_regs_struct.  Raises ProcessLookupError when the
    process is gone.
    """
    return Outcome(_core.condition(lower(expr), registers, pid, hits)[0])
