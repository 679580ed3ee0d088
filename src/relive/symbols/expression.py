"""DWARF expressions as call frame information uses them (DWARF 5, section 2.5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from relive.symbols.bytesreader import Reader

_MASK = (1 << 64) - 1


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def evaluate(
    expression: bytes,
    registers: Mapping[int, int],
    read: Callable[[int, int], bytes],
    initial: tuple[int, ...] = (),
) -> int:
    """The value of an expression.

    registers: by DWARF number.  read: memory.  initial: what lies on the stack at the start.
    Raises KeyError for a register that is not known, OSError for memory, ValueError for an
    operation that no unwind table uses, IndexError for a malformed expression.
    """
    stack = list(initial)
    reader = Reader(expression)
    while reader.at < len(expression):
        op = reader.u8()
        if 0x30 <= op <= 0x4F:  # lit0 to lit31
            stack.append(op - 0x30)
        elif 0x70 <= op <= 0x8F:  # breg0 to breg31
            stack.append(registers[op - 0x70] + reader.sleb() & _MASK)
        elif 0x50 <= op <= 0x6F:  # reg0 to reg31
            stack.append(registers[op - 0x50])
        elif op in _CONSTANTS:
            stack.append(_CONSTANTS[op](reader) & _MASK)
        elif op in _BINARY:
            b, a = stack.pop(), stack.pop()
            stack.append(_BINARY[op](a, b) & _MASK)
        else:
            match op:
                case 0x06:  # deref
                    stack.append(int.from_bytes(read(stack.pop(), 8), "little"))
                case 0x94:  # deref_size
                    stack.append(int.from_bytes(read(stack.pop(), reader.u8()), "little"))
                case 0x12:  # dup
                    stack.append(stack[-1])
                case 0x13:  # drop
                    stack.pop()
                case 0x14:  # over
                    stack.append(stack[-2])
                case 0x15:  # pick
                    stack.append(stack[-1 - reader.u8()])
                case 0x16:  # swap
                    stack[-1], stack[-2] = stack[-2], stack[-1]
                case 0x17:  # rot
                    stack[-3:] = [stack[-1], stack[-3], stack[-2]]
                case 0x19:  # abs
                    stack.append(abs(_signed(stack.pop())) & _MASK)
                case 0x1F:  # neg
                    stack.append(-stack.pop() & _MASK)
                case 0x20:  # not
                    stack.append(stack.pop() ^ _MASK)
                case 0x23:  # plus_uconst
                    stack.append(stack.pop() + reader.uleb() & _MASK)
                case 0x92:  # bregx
                    register = reader.uleb()
                    stack.append(registers[register] + reader.sleb() & _MASK)
                case 0x28:  # bra
                    distance = reader.s16()
                    if stack.pop():
                        reader.at += distance
                case 0x2F:  # skip
                    distance = reader.s16()
                    reader.at += distance
                case 0x96:  # nop
                    pass
                case _:
                    raise ValueError(f"DWARF operation {op:#x}")
    return stack[-1]


_CONSTANTS: dict[int, Callable[[Reader], int]] = {
    0x03: Reader.u64,  # addr
    0x08: Reader.u8,
    0x09: Reader.s8,
    0x0A: Reader.u16,
    0x0B: Reader.s16,
    0x0C: Reader.u32,
    0x0D: Reader.s32,
    0x0E: Reader.u64,
    0x0F: Reader.s64,
    0x10: Reader.uleb,
    0x11: Reader.sleb,
}

_BINARY: dict[int, Callable[[int, int], int]] = {
    0x1A: lambda a, b: a & b,
    0x1C: lambda a, b: a - b,
    0x1E: lambda a, b: a * b,
    0x21: lambda a, b: a | b,
    0x22: lambda a, b: a + b,
    0x24: lambda a, b: a << b if b < 64 else 0,
    0x25: lambda a, b: a >> b if b < 64 else 0,
    0x26: lambda a, b: _signed(a) >> min(b, 63),
    0x27: lambda a, b: a ^ b,
    0x29: lambda a, b: a == b,
    0x2A: lambda a, b: _signed(a) >= _signed(b),
    0x2B: lambda a, b: _signed(a) > _signed(b),
    0x2C: lambda a, b: _signed(a) <= _signed(b),
    0x2D: lambda a, b: _signed(a) < _signed(b),
    0x2E: lambda a, b: a != b,
}
