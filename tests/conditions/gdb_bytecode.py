"""gdb's agent expressions for tests: an assembler, a plain interpreter, random code."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from relive.arch.x86_64 import BY_NAME
from relive.conditions.agentexpr import GDB_REGISTERS
from relive.conditions.ir import WORD_MASK, to_signed
from relive.conditions.reference import Read, Undecided
from tests.conditions.strategies import DEFAULT_RANGES, INTERESTING, addresses

# Opcode and bytes of operand, from the appendix "Bytecode Descriptions" of the gdb manual.
OPCODES: Final = {
    "add": (0x02, 0), "sub": (0x03, 0), "mul": (0x04, 0), "div_signed": (0x05, 0),
    "div_unsigned": (0x06, 0), "rem_signed": (0x07, 0), "rem_unsigned": (0x08, 0),
    "lsh": (0x09, 0), "rsh_signed": (0x0A, 0), "rsh_unsigned": (0x0B, 0), "log_not": (0x0E, 0),
    "bit_and": (0x0F, 0), "bit_or": (0x10, 0), "bit_xor": (0x11, 0), "bit_not": (0x12, 0),
    "equal": (0x13, 0), "less_signed": (0x14, 0), "less_unsigned": (0x15, 0), "ext": (0x16, 1),
    "ref8": (0x17, 0), "ref16": (0x18, 0), "ref32": (0x19, 0), "ref64": (0x1A, 0),
    "if_goto": (0x20, 2), "goto": (0x21, 2), "const8": (0x22, 1), "const16": (0x23, 2),
    "const32": (0x24, 4), "const64": (0x25, 8), "reg": (0x26, 2), "end": (0x27, 0),
    "dup": (0x28, 0), "pop": (0x29, 0), "zero_ext": (0x2A, 1), "swap": (0x2B, 0),
    "pick": (0x32, 1), "rot": (0x33, 0),
}  # fmt: skip
NAMES: Final = {code: (name, size) for name, (code, size) in OPCODES.items()}
BINARY: Final = tuple(
    name
    for name, (code, _) in OPCODES.items()
    if code in range(0x02, 0x0C) or code in range(0x0F, 0x12) or code in range(0x13, 0x16)
)
LOADS: Final = {"ref8": 1, "ref16": 2, "ref32": 4, "ref64": 8}


def assemble(text: str) -> bytes:
    """Code from lines as gdb lists it (`maint agent-eval`): `12 const8 5`, the offset optional."""
    code = bytearray()
    for line in text.strip().splitlines():
        words = line.split()
        if words[0].isdigit():
            assert int(words.pop(0)) == len(code), f"{line!r} is at {len(code)}"
        opcode, size = OPCODES[words[0]]
        code.append(opcode)
        if size:
            code += int(words[1]).to_bytes(size, "big")
    return bytes(code)


def interpret(code: bytes, regs: Sequence[int], read: Read) -> int:
    """What the code leaves on top of its stack.  Raises Undecided where it ends with an error."""
    stack: list[int] = []
    here = 0
    while True:
        name, size = NAMES[code[here]]
        operand = int.from_bytes(code[here + 1 : here + 1 + size], "big")
        here += 1 + size
        if name == "end":
            return stack[-1]
        if name.startswith("const"):
            stack.append(operand)
        elif name == "reg":
            number = GDB_REGISTERS[operand]
            # TF and RF of the flags are not the program's.
            stack.append(regs[number] & (~0x10100 if number == BY_NAME["eflags"].index else -1))
        elif name == "goto":
            here = operand
        elif name == "if_goto":
            if stack.pop():
                here = operand
        elif name in LOADS:
            address = stack.pop()
            if address + LOADS[name] > 1 << 64:
                raise Undecided(address, LOADS[name])
            try:
                stack.append(int.from_bytes(read(address, LOADS[name]), "little"))
            except OSError:
                raise Undecided(address, LOADS[name]) from None
        elif name == "dup":
            stack.append(stack[-1])
        elif name == "pop":
            stack.pop()
        elif name == "swap":
            stack[-1], stack[-2] = stack[-2], stack[-1]
        elif name == "pick":
            stack.append(stack[-1 - operand])
        elif name == "rot":
            stack[-3:] = [stack[-1], stack[-3], stack[-2]]
        elif name in ("ext", "zero_ext"):
            stack.append(extended(stack.pop(), operand, signed=name == "ext"))
        elif name == "log_not":
            stack.append(int(not stack.pop()))
        elif name == "bit_not":
            stack.append(~stack.pop() & WORD_MASK)
        else:
            b, a = stack.pop(), stack.pop()
            stack.append(computed(name, a, b) & WORD_MASK)


def extended(value: int, bits: int, *, signed: bool) -> int:
    if bits >= 64:
        return value
    value %= 1 << bits
    return (value - (1 << bits)) & WORD_MASK if signed and value >> (bits - 1) else value


def computed(name: str, a: int, b: int) -> int:
    x, y = to_signed(a), to_signed(b)
    if name.startswith(("div", "rem")):
        if b == 0:
            raise Undecided(None)
        if name.endswith("unsigned"):
            return a // b if name.startswith("div") else a % b
        quotient = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
        return quotient if name.startswith("div") else x - quotient * y
    match name:
        case "add":
            return a + b
        case "sub":
            return a - b
        case "mul":
            return a * b
        case "lsh":
            return a << b if b < 64 else 0
        case "rsh_signed":
            return x >> min(b, 63)
        case "rsh_unsigned":
            return a >> min(b, 64)
        case "bit_and":
            return a & b
        case "bit_or":
            return a | b
        case "bit_xor":
            return a ^ b
        case "equal":
            return int(a == b)
        case "less_signed":
            return int(x < y)
        case _:
            assert name == "less_unsigned"
            return int(a < b)


@dataclass
class RandomCode:
    """Valid code with forward jumps: ways that meet, that share their ends, that end early."""

    random: random.Random
    code: bytearray = field(default_factory=bytearray)

    def make(self) -> bytes:
        self.code.clear()
        self.block(0, self.random.randint(2, 14), nesting=3)
        if self.random.random() < 0.3:
            self.logic_chain()
        self.put("end")
        return bytes(self.code)

    def put(self, name: str, operand: int = 0) -> int:
        """Append an instruction; the place of its operand."""
        opcode, size = OPCODES[name]
        self.code.append(opcode)
        self.code += operand.to_bytes(size, "big")
        return len(self.code) - size

    def land(self, place: int) -> None:
        self.code[place : place + 2] = len(self.code).to_bytes(2, "big")

    def leaf(self) -> None:
        choose = self.random.random()
        if choose < 0.4:
            self.put("reg", self.random.choice(list(GDB_REGISTERS)))
        elif choose < 0.6:
            self.put("const8", self.random.randrange(256))
        elif choose < 0.8:
            self.put("const64", self.random.choice((*INTERESTING, *addresses(DEFAULT_RANGES))))
        else:
            start, length = self.random.choice(DEFAULT_RANGES)
            self.put("const64", start + self.random.randrange(length))
            self.put(self.random.choice(tuple(LOADS)))

    def logic_chain(self) -> None:
        """a && b && c as gdb does it: several jumps to one end.  Needs a word, leaves one."""
        ends = []
        for _ in range(self.random.randint(1, 3)):
            on = self.put("if_goto")
            ends.append(self.put("goto"))
            self.land(on)
            self.leaf()
        self.put("pop")
        self.put("const8", 1)
        done = self.put("goto")
        for end in ends:
            self.land(end)
        self.put("const8", 0)
        self.land(done)

    def block(self, depth: int, length: int, nesting: int) -> int:
        """Instructions that begin with `depth` words on the stack and end with one at least;
        how many they end with."""
        for _ in range(length):
            choose = self.random.random()
            if depth == 0 or choose < 0.25:
                self.leaf()
                depth += 1
            elif choose < 0.5 and depth >= 2:
                self.put(self.random.choice(BINARY))
                depth -= 1
            elif choose < 0.58:
                self.put(self.random.choice(("log_not", "bit_not")))
            elif choose < 0.64:
                self.put(self.random.choice(("ext", "zero_ext")), self.random.randint(1, 70))
            elif choose < 0.69:
                self.put(self.random.choice(tuple(LOADS)))
            elif choose < 0.85:
                depth = self.shuffle(depth)
            elif nesting and choose < 0.97:
                depth = self.branch(depth - 1, nesting - 1)
        return max(depth, self.ensure_one(depth))

    def ensure_one(self, depth: int) -> int:
        if depth == 0:
            self.leaf()
            return 1
        return depth

    def shuffle(self, depth: int) -> int:
        name = self.random.choice(("dup", "pop", "swap", "pick", "rot"))
        if name == "dup":
            self.put(name)
            return depth + 1
        if name == "pop":
            self.put(name)
            return depth - 1
        if name == "pick":
            self.put(name, self.random.randrange(depth))
            return depth + 1
        if depth >= (2 if name == "swap" else 3):
            self.put(name)
        return depth

    def branch(self, depth: int, nesting: int) -> int:
        to_other = self.put("if_goto")
        ends: int | None = None
        left = self.block(depth, self.random.randint(0, 5), nesting)
        if self.random.random() < 0.15:
            self.put("end")
            left = -1
        else:
            ends = self.put("goto")
        self.land(to_other)
        right = self.block(depth, self.random.randint(0, 5), nesting)
        if left >= 0:
            # Both must leave the same number of words.
            while right > left:
                self.put("pop")
                right -= 1
            while right < left:
                self.leaf()
                right += 1
        if ends is not None:
            self.land(ends)
        return right


def programs(count: int, seed: int) -> Iterator[bytes]:
    """`count` random codes."""
    maker = RandomCode(random.Random(seed))
    for _ in range(count):
        yield maker.make()
