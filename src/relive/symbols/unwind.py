"""Backtraces: the callers of a stopped thread, without frame pointers.

Frames are unwound by call frame information.  Where a file has none (code made at run time,
hand-written assembly), the frame pointer is tried, and the frame says so.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from relive.arch import x86_64
from relive.symbols.expression import evaluate
from relive.symbols.frames import UnwindRow
from relive.symbols.process import Described, ProcessSymbols, Read

#: DWARF numbers of the registers (System V ABI, AMD64 supplement, figure 3.36)
_NAMES: Final = "rax rdx rcx rbx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip"
DWARF: Final = tuple(x86_64.BY_NAME[name].index for name in _NAMES.split())
_RBP, _RSP, _RA = 6, 7, 16
#: what a called function keeps (rbx rbp rsp r12-r15): the same in the caller unless said otherwise
_PRESERVED: Final = frozenset((3, 6, 7, 12, 13, 14, 15))
_PAGE: Final = 4096

MAX_FRAMES: Final = 256


@dataclass(frozen=True, slots=True)
class Frame:
    """One function on the stack.

    pc: where it is, or for a caller where it will go on.  call: an address within the call.
    cfa: its canonical frame address, 0 when not known.  described: the name of `call`.
    signal: interrupted by the signal whose handler is the frame before.
    guessed: found by the frame pointer, which may be wrong.
    """

    pc: int
    call: int
    cfa: int
    described: Described
    signal: bool = False
    guessed: bool = False

    def text(self) -> str:
        """One line: `0x401136 main+0x16 at demo.c:12 (demo)`."""
        offset = self.pc - self.described.address + self.described.offset
        if self.described.symbol is not None:
            name = self.described.symbol.name + (f"+{offset:#x}" if offset else "")
        elif self.described.module is not None:
            name = f"{self.described.module.name}+{offset:#x}"
        else:
            name = "?"
        line = f"{self.pc:#x} {name}"
        if self.described.file:
            line += f" at {self.described.file}:{self.described.line}"
        if self.described.module is not None:
            line += f" ({self.described.module.name})"
        if self.signal:
            line += " <signal>"
        if self.guessed:
            line += " (by frame pointer)"
        return line


class Unwinder:
    """Unwinds threads of one process."""

    def __init__(self, symbols: ProcessSymbols) -> None:
        self.symbols = symbols

    def backtrace(
        self, registers: Sequence[int], *, limit: int = MAX_FRAMES, lines: bool = False
    ) -> list[Frame]:
        """The frames of a thread, innermost first.

        registers: the 27 of struct user_regs_struct.  limit: frames at most.  lines: look for
        source lines too.  Never raises for what it finds on a damaged stack: it ends there.
        """
        known: dict[int, int] = {n: registers[index] for n, index in enumerate(DWARF)}
        read = _Pages(self.symbols.memory).read
        frames: list[Frame] = []
        exact = True  # pc is where the thread is, not a return address
        guessed = False
        while len(frames) < limit:
            pc = known[_RA]
            call = pc if exact else pc - 1
            if frames and not self.symbols.is_code(call):
                break
            row = self._row(call)
            described = self.symbols.describe(call, lines=lines)
            if row is None:
                frames.append(Frame(pc, call, 0, described, False, guessed))
                following = self._without_table(known, read, not frames[1:], call)
                guessed = True
                exact = False
            else:
                found = _step(known, row, read)
                cfa = found[0] if found else 0
                if row.signal:  # the trampoline was not called: nothing lies before it
                    described = self.symbols.describe(pc, lines=lines)
                    call = pc
                frames.append(Frame(pc, call, cfa, described, row.signal, guessed))
                following = found[1] if found else None
                guessed = False
                exact = row.signal
            if following is None or following.get(_RA, 0) == 0:
                break
            if not exact and following[_RSP] <= known[_RSP]:
                break  # stacks are unwound upwards
            known = following
        return frames

    def _row(self, address: int) -> UnwindRow | None:
        module = self.symbols.module_at(address)
        if module is None:
            return None
        return module.image.frames.row(address - module.bias)

    def _without_table(
        self, known: dict[int, int], read: Read, innermost: bool, call: int
    ) -> dict[int, int] | None:
        if innermost and not self.symbols.is_code(call):
            # A jump to nowhere: the return address is what the call pushed last.
            try:
                back = int.from_bytes(read(known[_RSP], 8), "little")
            except OSError:
                return None
            return {**known, _RA: back, _RSP: known[_RSP] + 8}
        base = known.get(_RBP, 0)
        if base <= known[_RSP] - 8 or base % 8:
            return None
        try:
            saved, back = struct.unpack("<QQ", read(base, 16))
        except OSError:
            return None
        if not self.symbols.is_code(back - 1):
            return None
        return {_RBP: saved, _RSP: base + 16, _RA: back}


def _step(
    known: dict[int, int], row: UnwindRow, read: Read
) -> tuple[int, dict[int, int] | None] | None:
    """The CFA and the caller's registers, as far as they are known; None at the outermost."""
    try:
        if row.cfa_expression:
            cfa = evaluate(row.cfa_expression, known, read)
        else:
            cfa = known[row.cfa_register] + row.cfa_offset & (1 << 64) - 1
        caller = {n: known[n] for n in _PRESERVED if n in known}
        caller[_RSP] = cfa
        for register, rule in row.rules.items():
            caller.pop(register, None)
            if rule is None:
                continue
            match rule.kind:
                case "at":
                    value = int.from_bytes(read(cfa + rule.number, 8), "little")
                case "is":
                    value = cfa + rule.number
                case "at_expression":
                    address = evaluate(rule.expression, known, read, (cfa,))
                    value = int.from_bytes(read(address, 8), "little")
                case "is_expression":
                    value = evaluate(rule.expression, known, read, (cfa,))
                case "register":
                    value = known[rule.number]
                case "same":
                    value = known[register]
            caller[register] = value
    except (KeyError, OSError, ValueError, IndexError):
        return None
    if row.return_register not in row.rules or row.rules[row.return_register] is None:
        return cfa, None  # marked as the outermost
    caller[_RA] = caller[row.return_register]
    return cfa, caller


class _Pages:
    """A thread's memory during one backtrace, read by pages."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._pages: dict[int, bytes] = {}

    def read(self, address: int, size: int) -> bytes:
        page, start = address & ~(_PAGE - 1), address & _PAGE - 1
        if start + size > _PAGE:
            first = _PAGE - start
            return self.read(address, first) + self.read(address + first, size - first)
        if page not in self._pages:
            self._pages[page] = self._read(page, _PAGE)
        return self._pages[page][start : start + size]
