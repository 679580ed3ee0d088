"""x86-64 Linux: the registers a tracer sees and how a system call is made.

Sources: ``struct user_regs_struct`` (arch/x86/include/asm/user_64.h); the
System V ABI, AMD64 supplement, section A.2.1 (system calls) and 3.2.2 (the
red zone); Intel SDM volume 2 (encodings).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Register:
    """A register of ``struct user_regs_struct``."""

    name: str
    index: int
    """Position in the struct, and the bit that stands for it in a recording's REGS mask."""

    @property
    def offset(self) -> int:
        """Bytes from the start of the struct; each register takes 8."""
        return self.index * WORD_SIZE


WORD_SIZE: Final = 8
"""Bytes of a register and of a pointer."""

_ORDER: Final = (
    "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax "
    "rip cs eflags rsp ss fs_base gs_base ds es fs gs"
)

REGISTERS: Final[tuple[Register, ...]] = tuple(
    Register(name, index) for index, name in enumerate(_ORDER.split())
)
"""All 27, in the order of the struct."""

BY_NAME: Final[dict[str, Register]] = {register.name: register for register in REGISTERS}

REGS_SIZE: Final = len(REGISTERS) * WORD_SIZE
"""Bytes of ``struct user_regs_struct``."""

SYSCALL_NUMBER: Final = "orig_rax"
"""Holds the call's number while a tracer looks at it; writing -1 there cancels the call."""
SYSCALL_NUMBER_ENTRY: Final = "rax"
"""Holds the call's number when the program executes the instruction."""
SYSCALL_ARGS: Final = ("rdi", "rsi", "rdx", "r10", "r8", "r9")
SYSCALL_RESULT: Final = "rax"
SYSCALL_CLOBBERS: Final = ("rcx", "r11")
"""Overwritten by the instruction itself: the return address and the flags."""

INSTRUCTION_POINTER: Final = "rip"
STACK_POINTER: Final = "rsp"
FLAGS: Final = "eflags"
THREAD_POINTER: Final = "fs_base"

FLAG_TRAP: Final = 1 << 8
"""TF: single-step."""
FLAG_RESUME: Final = 1 << 16
"""RF: suppresses an instruction breakpoint once."""

SYSCALL_INSTRUCTION: Final = b"\x0f\x05"
BREAKPOINT_INSTRUCTION: Final = b"\xcc"
RDTSC_INSTRUCTION: Final = b"\x0f\x31"
RDTSCP_INSTRUCTION: Final = b"\x0f\x01\xf9"
CPUID_INSTRUCTION: Final = b"\x0f\xa2"

PAGE_SIZE: Final = 4096
RED_ZONE: Final = 128
"""Bytes below the stack pointer that a leaf function may use: no injected frame goes there."""
MAX_ERRNO: Final = 4095
"""Results from -4095 to -1 (as signed) are errors."""

USER_SPACE_END: Final = 0x7FFF_FFFF_F000
"""First address that no program can map with 4-level page tables (TASK_SIZE_MAX)."""
