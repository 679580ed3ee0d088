"""A traced child with a loop of known machine code, and memory at known addresses."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
from collections.abc import Sequence
from typing import Final, Self

from relive.arch import x86_64
from relive.doctor import kernel
from relive.doctor.child import Child
from tests.conditions.strategies import Memory

#: hot(n in rdi, word in rsi): rbx counts from 0 to n - 1, also in the word
HOT: Final = bytes.fromhex(
    "53"  # push rbx
    "31db"  # xor ebx, ebx
    "4883c301"  # 1: add rbx, 1       <- SITE
    "0f1f4000"  # nop [rax]
    "48891e"  # mov [rsi], rbx        <- WRITE
    "4839fb"  # cmp rbx, rdi
    "72f0"  # jb 1b                   <- BRANCH
    "5b"  # pop rbx
    "c3"  # ret
)
SITE: Final = 3
NOP: Final = 7
WRITE: Final = 11
BRANCH: Final = 17
END: Final = 19

#: nop; int3: one run over a site
ONCE: Final = b"\x90\xcc"

RBX: Final = x86_64.BY_NAME["rbx"].index
RIP: Final = x86_64.BY_NAME["rip"].index
RSP: Final = x86_64.BY_NAME["rsp"].index
FLAGS: Final = x86_64.BY_NAME["eflags"].index
ORIG_RAX: Final = x86_64.BY_NAME["orig_rax"].index
MASKED: Final = x86_64.FLAG_RESUME | x86_64.FLAG_TRAP

PTRACE_SETREGS: Final = 13
Registers = ctypes.c_uint64 * len(x86_64.REGISTERS)

_CODE: Final = 0x6A00_0000_0000
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]  # fmt: skip
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
MAP_FIXED_NOREPLACE: Final = 0x100000


class Pages:
    """Memory at fixed addresses of this process, shared with its children."""

    def __init__(self, ranges: Sequence[tuple[int, int]], prot: int = 3, fd: int = -1) -> None:
        self.ranges = ranges
        flags = MAP_FIXED_NOREPLACE | (mmap.MAP_SHARED if fd < 0 else mmap.MAP_PRIVATE)
        flags |= mmap.MAP_ANONYMOUS if fd < 0 else 0
        for start, length in ranges:
            got = _libc.mmap(start, length, prot, flags, fd, 0)
            assert got == start, f"mmap: {os.strerror(ctypes.get_errno())}"
            if prot & mmap.PROT_WRITE:
                ctypes.memset(start, 0, length)  # present, so that the kernel can read it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *what: object) -> None:
        for start, length in self.ranges:
            _libc.munmap(start, length)

    def touch(self) -> None:
        """Have the pages of shared memory in this process's page table too: what is not there
        the kernel does not read for a program, it lets the supervisor decide."""
        for start, length in self.ranges:
            for address in range(start, start + length, mmap.PAGESIZE):
                ctypes.c_uint8.from_address(address + mmap.PAGESIZE - 1).value += 0

    def fill(self, memory: Memory) -> None:
        """Copy the regions there."""
        for start, data in memory.regions:
            ctypes.memmove(start, data, len(data))


class Code(Pages):
    """Machine code at a known address, of a file when `path` is given (for uprobes)."""

    def __init__(self, code: bytes, path: str = "") -> None:
        self.start = _CODE
        if path:
            with open(path, "wb") as file:
                file.write(code.ljust(mmap.PAGESIZE, b"\xcc"))
            fd = os.open(path, os.O_RDONLY)
            try:
                super().__init__([(_CODE, mmap.PAGESIZE)], mmap.PROT_READ | mmap.PROT_EXEC, fd)
            finally:
                os.close(fd)
            return
        super().__init__([(_CODE, mmap.PAGESIZE)], 7)
        ctypes.memmove(_CODE, code, len(code))

    def call(self, *arguments: int) -> None:
        """Run it in this process: `void f(uint64_t, ...)`."""
        types = [ctypes.c_uint64] * len(arguments)
        ctypes.CFUNCTYPE(None, *types)(self.start)(*arguments)


class Tracee(Child):
    """A child that is pinned to this process's core, traced and stopped before its body runs."""

    def __init__(self, body: object, options: int = 0) -> None:
        assert callable(body)
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        super().__init__(lambda: body() or 0)
        self.seize(options)

    def stop(self) -> int:
        """Wait for the next stop or end of the child; the wait status."""
        return self.wait()

    def info(self) -> bytes:
        """siginfo of the stop."""
        data = ctypes.create_string_buffer(128)
        kernel.ptrace("ptrace(PTRACE_GETSIGINFO)", kernel.PTRACE_GETSIGINFO, self.pid, data=data)
        return data.raw

    def regs(self) -> tuple[int, ...]:
        """The 27 registers."""
        words = Registers()
        kernel.ptrace("ptrace(PTRACE_GETREGS)", kernel.PTRACE_GETREGS, self.pid, data=words)
        return tuple(words)

    def set_regs(self, regs: Sequence[int]) -> None:
        """Set the 27 registers."""
        words = Registers(*regs)
        kernel.ptrace("ptrace(PTRACE_SETREGS)", PTRACE_SETREGS, self.pid, data=words)

    def run(self) -> int:
        """Go on, suppressing the signal, to the next stop or the end; the wait status."""
        self.resume(kernel.PTRACE_CONT)
        return self.wait()


def trapped(status: int) -> bool:
    """Whether the status is a stop by SIGTRAP."""
    return os.WIFSTOPPED(status) and os.WSTOPSIG(status) == signal.SIGTRAP
