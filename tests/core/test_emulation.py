"""Instructions carried out for a stopped thread, held against the processor itself."""

from __future__ import annotations

import ctypes
import mmap
import os
import random
from collections.abc import Callable

import pytest

from relive import _core
from relive.arch.x86_64 import BY_NAME
from relive.conditions.ir import N_REGISTERS

RDI, RSI, RIP = BY_NAME["rdi"].index, BY_NAME["rsi"].index, BY_NAME["rip"].index
FLAGS = BY_NAME["eflags"].index
RSP, RAX, RCX = BY_NAME["rsp"].index, BY_NAME["rax"].index, BY_NAME["rcx"].index
ARITHMETIC_FLAGS = 0x8D5
EDGES = (0, 1, 0xF, 0x10, 0x7F, 0x80, 0xFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
WORDS = (*EDGES, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)

Native = Callable[[int, int, int], tuple[int, int]]


def native(instruction: bytes) -> Native:
    """A function that executes an instruction on rdi and rsi, with these flags before: rdi and
    the flags afterwards."""
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    # push rdx; popf; INSTRUCTION; pushf; pop rax; mov [rcx], rax; mov rax, rdi; ret
    code.write(b"\x52\x9d" + instruction + b"\x9c\x58\x48\x89\x01\x48\x89\xf8\xc3")
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    words = (ctypes.c_uint64,) * 3
    function = ctypes.CFUNCTYPE(ctypes.c_uint64, *words, ctypes.POINTER(ctypes.c_uint64))(address)

    def call(a: int, b: int, flags: int) -> tuple[int, int]:
        after = ctypes.c_uint64()
        result = function(a, b, flags, ctypes.byref(after))
        assert code is not None  # kept as long as the function
        return int(result), after.value

    return call


ARITHMETIC = {
    "add rdi, rsi": b"\x48\x01\xf7",
    "add rdi, rsi (other form)": b"\x48\x03\xfe",
    "add edi, esi": b"\x01\xf7",
    "sub rdi, rsi": b"\x48\x29\xf7",
    "sub edi, esi": b"\x29\xf7",
    "cmp rdi, rsi": b"\x48\x39\xf7",
    "cmp edi, esi": b"\x3b\xfe",
    "add rdi, -5": b"\x48\x83\xc7\xfb",
    "add edi, 0x12345678": b"\x81\xc7\x78\x56\x34\x12",
    "sub rdi, -0x12345678": b"\x48\x81\xef\x88\xa9\xcb\xed",
    "cmp edi, -1": b"\x83\xff\xff",
    "mov edi, esi": b"\x89\xf7",
    "mov rdi, rsi": b"\x48\x8b\xfe",
    "mov rdi, -2": b"\x48\xc7\xc7\xfe\xff\xff\xff",
    "mov edi, -2": b"\xbf\xfe\xff\xff\xff",
    "movabs": b"\x48\xbf\x01\x02\x03\x04\x05\x06\x07\x88",
    "lea rdi, [rdi+rsi*4-8]": b"\x48\x8d\x7c\xb7\xf8",
    "lea edi, [rsi+0x12345]": b"\x8d\xbe\x45\x23\x01\x00",
    "lea rdi, [rsi*8+1]": b"\x48\x8d\x3c\xf5\x01\x00\x00\x00",
    "nop": b"\x66\x0f\x1f\x84\x00\x00\x00\x00\x00",
    "endbr64": b"\xf3\x0f\x1e\xfa",
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_values_and_flags(name: str) -> None:
    code = ARITHMETIC[name]
    execute = native(code)
    chance = random.Random(1)
    pairs = [(a, b) for a in WORDS for b in WORDS]
    pairs += [(chance.getrandbits(64), chance.getrandbits(64)) for _ in range(300)]
    for a, b in pairs:
        before = 0x202 | chance.getrandbits(12) & ARITHMETIC_FLAGS
        registers = [0] * N_REGISTERS
        registers[RDI], registers[RSI], registers[FLAGS] = a, b, before
        found = _core.emulate(code, 0x5000, registers, os.getpid())
        assert found is not None
        length, after = found
        value, flags = execute(a, b, before)
        assert length == len(code)
        assert (after[RDI], after[FLAGS] & ARITHMETIC_FLAGS) == (value, flags & ARITHMETIC_FLAGS)
        assert after[RIP] == 0x5000 + len(code)


@pytest.mark.parametrize("condition", range(16))
def test_conditions_of_jumps(condition: int) -> None:
    """setcc says what jcc does."""
    execute = native(bytes((0x40, 0x0F, 0x90 + condition, 0xC7)))  # setcc dil
    short, near = bytes((0x70 + condition, 0x10)), bytes((0x0F, 0x80 + condition, 0, 1, 0, 0))
    for bits in range(32):
        flags = 0x202
        for bit, flag in enumerate((1, 4, 0x40, 0x80, 0x800)):
            flags |= flag if bits >> bit & 1 else 0
        taken = execute(0, 0, flags)[0] & 1
        registers = [0] * N_REGISTERS
        registers[FLAGS] = flags
        for code, distance in ((short, 0x10), (near, 0x100)):
            found = _core.emulate(code, 0x5000, registers, os.getpid())
            assert found is not None
            assert found[1][RIP] == 0x5000 + len(code) + (distance if taken else 0)


def test_stack_and_calls() -> None:
    stack = (ctypes.c_uint64 * 8)(*range(100, 108))
    target = ctypes.c_uint64(0x7000)
    top = ctypes.addressof(stack) + 32
    registers = [0] * N_REGISTERS
    registers[RSP], registers[RAX], registers[RCX] = top, 0x1234, 0x6000

    def run(code: bytes, address: int = 0x5000) -> tuple[int, ...]:
        found = _core.emulate(code, address, registers, os.getpid())
        assert found is not None
        return found[1]

    after = run(b"\x50")  # push rax
    assert (after[RSP], stack[3]) == (top - 8, 0x1234)
    after = run(b"\x54")  # push rsp: as it was before
    assert (after[RSP], stack[3]) == (top - 8, top)
    after = run(b"\x58")  # pop rax
    assert (after[RSP], after[RAX]) == (top + 8, 104)
    after = run(b"\x5c")  # pop rsp: the value
    assert after[RSP] == 104
    after = run(b"\xe8\x00\x01\x00\x00")  # call
    assert (after[RIP], after[RSP], stack[3]) == (0x5105, top - 8, 0x5005)
    after = run(b"\xff\xd1")  # call rcx
    assert (after[RIP], stack[3]) == (0x6000, 0x5002)
    after = run(b"\xff\xe1")  # jmp rcx
    assert (after[RIP], after[RSP]) == (0x6000, top)
    after = run(b"\xf3\xc3")  # rep ret
    assert (after[RIP], after[RSP]) == (104, top + 8)
    near = ctypes.addressof(target) - 0x100
    after = run(b"\xff\x15" + (0x100 - 6).to_bytes(4, "little"), near)  # call [rip + x]
    assert (after[RIP], stack[3]) == (0x7000, near + 6)
    after = run(b"\xeb\xfe")  # jmp to itself
    assert after[RIP] == 0x5000


def test_what_is_not_emulated() -> None:
    others = (
        b"\x66\x01\xf7",  # 16 bits
        b"\xf0\x01\x37",  # memory
        b"\x31\xff",  # xor: AF is undefined
        b"\x66\xe9\x00\x00",
        b"\x64\x8b\x07",
        b"\xcc",
        b"\x0f\x05",
        b"\x41\x90",  # xchg r8, rax
        b"\x48",  # cut off
        b"\xe8\x00\x00",
    )
    for code in others:
        assert _core.emulated_length(code) == 0, code.hex()
    registers = [0] * N_REGISTERS
    registers[FLAGS] = 0x302  # the program steps itself
    with pytest.raises(OSError, match="implemented"):
        _core.emulate(b"\x90", 0x5000, registers, os.getpid())
    registers[FLAGS] = 0x202
    for code in (b"\x50", b"\x58", b"\xc3"):  # there is no stack
        with pytest.raises(OSError, match="address"):
            _core.emulate(code, 0x5000, registers, os.getpid())
