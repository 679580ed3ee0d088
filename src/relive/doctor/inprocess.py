"""The in-process evaluator on the self-test's loop: one task, as code patching sees it."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from relive.arch import x86_64
from relive.conditions import ir
from relive.conditions.inprocess.evaluator import Arm, Hit, InProcess
from relive.doctor import kernel
from relive.doctor.finding import Finding
from relive.doctor.selftest import EVERY, GATE, LOOP, RBX, RIP, SITE, STOPS, THIRD, Loop
from relive.tracee.maps import Mapping, read_maps

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PTRACE_SINGLESTEP: Final = 9
_ARGUMENTS: Final = [x86_64.BY_NAME[name].index for name in x86_64.SYSCALL_ARGS]
_RAX: Final = x86_64.BY_NAME[x86_64.SYSCALL_RESULT].index
_ORIG_RAX: Final = x86_64.BY_NAME[x86_64.SYSCALL_NUMBER].index


class LoopTarget:
    """`relive.tracee.patching.Target` for a Loop with a gate, stopped outside of a system call."""

    def __init__(self, loop: Loop) -> None:
        self.pid = loop.pid
        self._loop = loop
        self._memory = os.open(f"/proc/{loop.pid}/mem", os.O_RDWR | os.O_CLOEXEC)

    def close(self) -> None:
        """Give the file descriptor back."""
        os.close(self._memory)

    def read(self, addr: int, size: int) -> bytes:
        """As Target."""
        data = os.pread(self._memory, size, addr)
        if len(data) != size:
            raise OSError(errno.EFAULT, f"{size} bytes at {addr:#x}")
        return data

    def write(self, addr: int, data: bytes) -> None:
        """As Target."""
        os.pwrite(self._memory, data, addr)

    def maps(self) -> Sequence[Mapping]:
        """As Target."""
        return read_maps(self.pid)

    def syscall(self, nr: int, *args: int) -> int:
        """As Target."""
        before = self._loop.regs()
        regs = before.copy()
        regs[_RAX], regs[_ORIG_RAX], regs[RIP] = nr, ir.WORD_MASK, self._loop.page + GATE
        for index, argument in zip(_ARGUMENTS, args, strict=False):
            regs[index] = argument & ir.WORD_MASK
        self._loop.set_regs(regs)
        self._loop.resume(PTRACE_SINGLESTEP)
        self._loop.wait()
        result = self._loop.regs()[_RAX]
        self._loop.set_regs(before)
        return ir.to_signed(result)

    def threads(self) -> Iterable[int]:
        """As Target."""
        return [self.pid]

    def get_registers(self, tid: int) -> tuple[int, ...]:
        """As Target."""
        return tuple(self._loop.regs())

    def set_registers(self, tid: int, registers: Sequence[int]) -> None:
        """As Target."""
        self._loop.set_regs(list(registers))

    def usable(self, start: int, end: int) -> bool:
        """As Target."""
        return True


def precision() -> Finding:
    """Every stop of the loop is at the site in round 0, 3, 6..., all hits counted."""
    with Loop(STOPS * EVERY, announced=True) as loop:
        loop.release()
        loop.wait()
        target = LoopTarget(loop)
        try:
            evaluator = InProcess(target)
            at = loop.place + SITE
            armed = evaluator.arm([Arm(at, THIRD, function=(loop.place, loop.place + len(LOOP)))])
            site = armed[at]
            if isinstance(site, str):
                return Finding("no", f"the site can't be patched: {site}")
            good = stops = 0
            status = loop.run()
            while os.WIFSTOPPED(status):
                trap = evaluator.patcher.resolve(loop.pid, os.WSTOPSIG(status))
                hit = evaluator.trap(loop.pid, trap) if trap else None
                if isinstance(hit, Hit):
                    good += (hit.registers[RIP], hit.registers[RBX]) == (at, stops * EVERY)
                    stops += 1
                loop.resume(kernel.PTRACE_CONT)
                status = loop.wait()
        finally:
            target.close()
        if status:
            return Finding("no", f"the program ended with wait status {status:#x}")
        if (good, stops, site.hits) != (STOPS, STOPS, STOPS * EVERY):
            return Finding("no", f"{good} of {stops} stops in place, {site.hits} hits counted")
    return Finding("yes", f"{good} of {STOPS} stops exactly at the address")
