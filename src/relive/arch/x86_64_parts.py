"""x86-64: the names of registers and of their parts.

Source: Intel SDM volume 1, 3.4.1 (general-purpose registers), 3.4.3 (EFLAGS), 3.5 (RIP).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from relive.arch.x86_64 import BY_NAME, FLAGS, INSTRUCTION_POINTER, REGISTERS, WORD_SIZE


@dataclass(frozen=True, slots=True)
class Part:
    """Bits `shift` to `shift + bits - 1` of a register of struct user_regs_struct.

    index: the register's position in the struct.
    """

    index: int
    shift: int
    bits: int


def _parts() -> dict[str, Part]:
    parts = {register.name: Part(register.index, 0, 8 * WORD_SIZE) for register in REGISTERS}
    parts["rflags"] = parts[FLAGS]
    parts["eip"] = Part(BY_NAME[INSTRUCTION_POINTER].index, 0, 32)

    def narrow(whole: str, dword: str, word: str, byte: str) -> None:
        index = BY_NAME[whole].index
        parts[dword] = Part(index, 0, 32)
        parts[word] = Part(index, 0, 16)
        parts[byte] = Part(index, 0, 8)

    for letter in "abcd":
        narrow(f"r{letter}x", f"e{letter}x", f"{letter}x", f"{letter}l")
        parts[f"{letter}h"] = Part(BY_NAME[f"r{letter}x"].index, 8, 8)
    for name in ("si", "di", "bp", "sp"):
        narrow(f"r{name}", f"e{name}", name, f"{name}l")
    for number in range(8, 16):
        narrow(f"r{number}", f"r{number}d", f"r{number}w", f"r{number}b")
    return parts


PARTS: Final[dict[str, Part]] = _parts()
"""Every name: rax, eax, ax, al, ah, r8d, r8w, r8b, eflags or rflags, fs_base ..."""

NAMES: Final[dict[Part, str]] = {part: name for name, part in reversed(PARTS.items())}
"""The name to print a part with: the first there is."""
