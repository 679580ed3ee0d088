"""Loading BPF programs and creating their maps.

A program of relive has a map of values: one element, shared with this process through
mmap(2), which the program addresses directly (BPF_PSEUDO_MAP_VALUE).  Constants of the
condition and counters lie there, so that a change takes effect at once and without loading
anything.  A program that collects has a ring as well (relive.conditions.kernel.ring).
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, Self

from relive.conditions.errors import ConditionError
from relive.conditions.kernel import abi, asm

if TYPE_CHECKING:
    from types import TracebackType

#: the verifier's log, at most
LOG_LIMIT: Final = 1 << 24
PRIVILEGE_HINT: Final = "run as root, or with CAP_BPF and CAP_PERFMON, or set up relive-bpf-helper"


class BpfRefused(ConditionError):
    """The kernel did not take a program or a map.

    number: errno.  log: what the verifier said, whole; "" when it was not asked.
    """

    def __init__(self, what: str, number: int, log: str = "", hint: str = "") -> None:
        message = f"{what}: {os.strerror(number)}"
        if log:
            message += "\n" + "\n".join(f"  {line}" for line in log.rstrip().splitlines()[-12:])
        super().__init__(message, hint or (PRIVILEGE_HINT if number == errno.EPERM else ""))
        self.number = number
        self.log = log


@dataclass(frozen=True, slots=True)
class Code:
    """A program before it is loaded.

    kind: BPF_PROG_TYPE_*.  text: instructions, with VALUES_MAP and RING_MAP where map file
    descriptors go.  value_size, ring_size: bytes of the maps; ring_size 0 for none, else a power
    of two and a multiple of the page size.
    """

    kind: int
    text: bytes
    value_size: int
    ring_size: int = 0


class Loader(Protocol):
    """Someone who may load programs: this process, or relive-bpf-helper."""

    def load(self, code: Code) -> tuple[int, int, int | None]:
        """File descriptors of program, map of values, ring.  Raises BpfRefused."""
        ...

    def __hash__(self) -> int:
        """By identity: what a loader allows is found out once (machine.py)."""
        ...


def create_map(kind: int, value_size: int, entries: int, flags: int = 0) -> int:
    """BPF_MAP_CREATE of an array (4-byte keys) or a ring (no keys); its file descriptor."""
    attr = abi.MapCreate(
        map_type=kind,
        key_size=4 if kind == abi.BPF_MAP_TYPE_ARRAY else 0,
        value_size=value_size,
        max_entries=entries,
        map_flags=flags,
        map_name=b"relive",
    )
    try:
        return abi.bpf("bpf(BPF_MAP_CREATE)", abi.BPF_MAP_CREATE, attr)
    except OSError as error:
        raise BpfRefused("bpf(BPF_MAP_CREATE)", error.errno or 0) from None


def load_program(kind: int, text: bytes, flags: int = 0) -> int:
    """BPF_PROG_LOAD; the program's file descriptor.  Raises BpfRefused with the verifier's log."""
    instructions = ctypes.create_string_buffer(text, len(text))
    attr = abi.ProgLoad(
        prog_type=kind,
        insn_cnt=len(text) // 8,
        insns=ctypes.addressof(instructions),
        license=b"GPL",  # bpf_probe_read_user is for GPL-compatible programs only
        prog_flags=flags,
        prog_name=b"relive",
    )
    try:
        return abi.bpf("bpf(BPF_PROG_LOAD)", abi.BPF_PROG_LOAD, attr)
    except OSError as error:
        number = error.errno or 0
    if number == errno.EPERM:
        raise BpfRefused("bpf(BPF_PROG_LOAD)", number)
    # Once more for the log, which costs time that a program which loads need not spend.
    size = 1 << 16
    while True:
        log = ctypes.create_string_buffer(size)
        attr.log_level, attr.log_size, attr.log_buf = 1, size, ctypes.addressof(log)
        try:
            return abi.bpf("bpf(BPF_PROG_LOAD)", abi.BPF_PROG_LOAD, attr)
        except OSError as error:
            if error.errno != errno.ENOSPC or size >= LOG_LIMIT:
                said = log.value.decode("utf-8", "replace")
                raise BpfRefused("bpf(BPF_PROG_LOAD)", number, said) from None
        size *= 16


class DirectLoader:
    """Loads programs with this process's own privileges (CAP_BPF and CAP_PERFMON)."""

    def load(self, code: Code) -> tuple[int, int, int | None]:
        """File descriptors of program, map of values, ring.  Raises BpfRefused."""
        values = create_map(abi.BPF_MAP_TYPE_ARRAY, code.value_size, 1, abi.BPF_F_MMAPABLE)
        ring: int | None = None
        try:
            maps = {asm.VALUES_MAP: values}
            if code.ring_size:
                ring = create_map(abi.BPF_MAP_TYPE_RINGBUF, 0, code.ring_size)
                maps[asm.RING_MAP] = ring
            flags = abi.BPF_F_SLEEPABLE if code.kind == abi.BPF_PROG_TYPE_SYSCALL else 0
            return load_program(code.kind, asm.with_maps(code.text, maps), flags), values, ring
        except BaseException:
            os.close(values)
            if ring is not None:
                os.close(ring)
            raise


class Program:
    """A loaded program and its maps; `close` it, or use it in a `with` block.

    fd: the program.  values: its map of values as 64-bit words, live in both directions.
    ring_fd: the ring's map, or None.
    """

    def __init__(self, code: Code, loader: Loader) -> None:
        self.code = code
        self.fd, self.values_fd, self.ring_fd = loader.load(code)
        try:
            self._memory = mmap.mmap(self.values_fd, code.value_size)
        except BaseException:
            self._close_fds()
            raise
        self.values = memoryview(self._memory).cast("Q")

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
        """Give everything back.  Events that the program is attached to keep it alive."""
        if self.fd >= 0:
            self.values.release()
            self._memory.close()
            self._close_fds()

    def _close_fds(self) -> None:
        for fd in (self.fd, self.values_fd, self.ring_fd):
            if fd is not None:
                os.close(fd)
        self.fd = -1

    def test_run(self, context: bytes) -> int:
        """BPF_PROG_TEST_RUN of a BPF_PROG_TYPE_SYSCALL program (Linux 5.14); what it returns."""
        memory = ctypes.create_string_buffer(context, len(context))
        attr = abi.TestRun(
            prog_fd=self.fd, ctx_in=ctypes.addressof(memory), ctx_size_in=len(context)
        )
        abi.bpf("bpf(BPF_PROG_TEST_RUN)", abi.BPF_PROG_TEST_RUN, attr)
        return int(attr.retval)
