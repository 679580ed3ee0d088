"""Samples that perf writes for a hit: registers and a piece of the stack.

The other way of collecting, without a ring of BPF and (without a condition) without any
privilege.  A hit that a program rejects leaves no sample.

The buffer is a control page and 2^n pages of data; records that do not fit are counted and
reported in a PERF_RECORD_LOST later.  Layouts: perf_event_open(2).
"""

from __future__ import annotations

import mmap
import struct
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from relive.arch import x86_64
from relive.conditions.kernel import abi
from relive.conditions.kernel.layout import PAGE
from relive.conditions.kernel.perf import REGISTERS_MASK, Event

if TYPE_CHECKING:
    from types import TracebackType

# Words of the control page, struct perf_event_mmap_page.
_HEAD: Final = 1024 // 8
_TAIL: Final = 1032 // 8
_HEADER: Final = struct.Struct("<IHH")

#: enum perf_event_x86_regs (<asm/perf_regs.h>)
_PERF_ORDER: Final = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "rip", "eflags", "cs", "ss",
    "ds", "es", "fs", "gs", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
#: where the registers of a sample go in user_regs_struct
_PLACES: Final = tuple(
    x86_64.BY_NAME[name].index for bit, name in enumerate(_PERF_ORDER) if REGISTERS_MASK >> bit & 1
)


class Sample(NamedTuple):
    """A hit.

    tid: the task.  ip: its instruction pointer.  regs: the 27 words of struct user_regs_struct,
    None when not asked for; those that perf does not tell (orig_rax, segments and their bases)
    are 0.  stack: memory from the stack pointer on, as much as could be read.
    """

    tid: int
    ip: int
    regs: tuple[int, ...] | None
    stack: bytes


class Samples:
    """The buffer of an event with SampleFields; the event must not be inherited."""

    def __init__(self, event: Event, pages: int = 16) -> None:
        """pages: of data, a power of two.  Raises OSError: EPERM above perf_event_mlock_kb."""
        self._type = int(event.attr.sample_type)
        self._size = pages * PAGE
        self._memory = mmap.mmap(event.fd, PAGE + self._size)
        self._control = memoryview(self._memory)[:PAGE].cast("Q")
        self.lost = 0
        """Samples that found the buffer full, as far as reported."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Unmap."""
        self._control.release()
        self._memory.close()

    def drain(self) -> list[Sample]:
        """The samples so far; frees their space."""
        head, tail = self._control[_HEAD], self._control[_TAIL]
        data = self._piece(tail, head - tail)
        self._control[_TAIL] = head
        result = []
        at = 0
        while at < len(data):
            kind, _, size = _HEADER.unpack_from(data, at)
            body = data[at + _HEADER.size : at + size]
            if kind == abi.PERF_RECORD_SAMPLE:
                result.append(self._sample(body))
            elif kind == abi.PERF_RECORD_LOST:
                self.lost += struct.unpack_from("<QQ", body)[1]
            elif kind == abi.PERF_RECORD_LOST_SAMPLES:
                self.lost += struct.unpack_from("<Q", body)[0]
            at += size
        return result

    def _piece(self, start: int, length: int) -> bytes:
        start %= self._size
        first = min(length, self._size - start)
        data = self._memory[PAGE + start : PAGE + start + first]
        return data + self._memory[PAGE : PAGE + length - first]

    def _sample(self, body: bytes) -> Sample:
        ip, _, tid = struct.unpack_from("<QII", body)
        at = 16
        regs: tuple[int, ...] | None = None
        stack = b""
        if self._type & abi.PERF_SAMPLE_REGS_USER:
            (abi_of_task,) = struct.unpack_from("<Q", body, at)
            at += 8
            if abi_of_task:
                words = [0] * len(x86_64.REGISTERS)
                told = struct.unpack_from(f"<{len(_PLACES)}Q", body, at)
                for place, word in zip(_PLACES, told, strict=True):
                    words[place] = word
                words[x86_64.BY_NAME[x86_64.FLAGS].index] &= ~(
                    x86_64.FLAG_RESUME | x86_64.FLAG_TRAP
                )
                regs = tuple(words)
                at += 8 * len(_PLACES)
        if self._type & abi.PERF_SAMPLE_STACK_USER:
            (size,) = struct.unpack_from("<Q", body, at)
            if size:
                (filled,) = struct.unpack_from("<Q", body, at + 8 + size)
                stack = body[at + 8 : at + 8 + filled]
        return Sample(tid, ip, regs, stack)
