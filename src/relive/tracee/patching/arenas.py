"""Pages of the target that hold stubs: mapped where jumps can reach them, and shared out."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from itertools import islice
from typing import Final

from relive.arch.x86_64 import PAGE_SIZE, USER_SPACE_END
from relive.tracee.maps import PROT_EXEC, PROT_READ
from relive.tracee.patching.space import ANY, Allowed, Intervals, find
from relive.tracee.patching.target import Target

SYS_MMAP: Final = 9
SYS_MUNMAP: Final = 11
MAP_SHARED: Final = 1
MAP_PRIVATE: Final = 2
MAP_ANONYMOUS: Final = 0x20
MAP_FIXED_NOREPLACE: Final = 0x100000

REACH: Final = (1 << 31) - (1 << 20)
"""Bytes from a site within which its stub has to be."""
_CLEAR: Final = 48 << 20
"""Memory that may lie anywhere is taken no nearer than that: puns whose displacement ends in bytes
of zero (immediates often do) have one window, below 16 MiB, and need just that."""
_CHUNK: Final = 16 * PAGE_SIZE
_LOWEST: Final = 16 * PAGE_SIZE
_HEAP_ROOM: Final = 1 << 30
"""Left free above the program and its heap, for brk to grow into."""
_STACK_ROOM: Final = 256 << 20
"""Left free below the initial thread's stack, which grows down; the kernel keeps its own
mappings half of this away at least (mmap_base in arch/x86/mm/mmap.c)."""


class NoRoom(OSError):
    """No memory that the jump could reach can be mapped."""


class Arenas:
    """Stub pages.  All methods may make system calls in the target."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._free = Intervals()
        self._gaps = Intervals()
        self._pages: list[tuple[int, int]] = []

    def inherit(self, parent: Arenas) -> None:
        """After a fork: the same pages are mapped here, in the same state."""
        self._pages = list(parent._pages)
        self._free = Intervals()
        for start, end in parent._free:
            self._free.add(start, end)

    def refresh(self) -> None:
        """Looks again what is mapped: to be called before sites are placed."""
        gaps = Intervals()
        gaps.add(_LOWEST, USER_SPACE_END)
        pid = self._target.pid
        try:
            program = os.readlink(f"/proc/{pid}/exe")
        except OSError:
            program = ""
        for m in self._target.maps():
            if m.start >= USER_SPACE_END:
                continue
            gaps.remove(m.start, m.end)
            if m.name == "[heap]" or (program and m.name == program):
                gaps.remove(m.end, m.end + _HEAP_ROOM)
            elif m.name == "[stack]":
                gaps.remove(m.start - _STACK_ROOM, m.start)
        self._gaps = gaps

    def place(self, origin: int, allowed: Allowed, before: int, after: int) -> int:
        """An address A whose displacement from `origin` is allowed, with [A - before, A + after)
        taken for the caller.  Raises NoRoom."""
        # What the code refers to may be on the other side of the site: near is better.
        at = None
        for reach in (REACH // 4, REACH // 2, REACH):
            bounds = (max(origin - reach, _LOWEST), origin + reach)
            if allowed == ANY:
                aligned = tuple(v for v in range(256) if not (v + origin) % 16)
                choices: Allowed = (aligned, None, None, None)
            else:
                choices = allowed
            at = find(self._free, origin, choices, before, after, bounds)
            if at is None and allowed == ANY:
                self._map_chunk(origin, before + after + PAGE_SIZE, reach)
                at = find(self._free, origin, choices, before, after, bounds)
            elif at is None:
                at = self._map_exactly(origin, allowed, before, after, bounds)
            if at is not None:
                break
        if at is None:
            raise NoRoom(errno.ENOMEM, "no free memory where the jump could reach")
        self._free.remove(at - before, at + after)
        return at

    def can_land(self, origin: int, allowed: Allowed, size: int) -> bool:
        """Whether `land` may find an address: nothing is mapped for it here."""
        bounds = (max(origin - REACH, _LOWEST), origin + REACH)
        return any(
            find(free, origin, allowed, 0, size, bounds) is not None
            for free in (self._free, self._gaps)
        )

    def land(self, origin: int, allowed: Allowed, size: int, low: int = 0) -> int | None:
        """An address not below `low` whose displacement from `origin` is allowed, with `size`
        bytes from there taken for the caller; None if there is none.  Raises NoRoom if the target
        can map no more."""
        bounds = (max(origin - REACH, _LOWEST, low), origin + REACH)
        at = find(self._free, origin, allowed, 0, size, bounds)
        if at is None:
            at = self._map_exactly(origin, allowed, 0, size, bounds)
        if at is not None:
            self._free.remove(at, at + size)
        return at

    def give_back(self, start: int, end: int) -> None:
        """Memory of a stub that no task can be in."""
        self._free.add(start, end)

    def map_near(self, near: int, size: int, prot: int, flags: int, fd: int = -1) -> int:
        """Maps whole pages within reach of the address `near`, outside what stubs use."""
        size = (size + PAGE_SIZE - 1) & -PAGE_SIZE
        for at in self._places(near, size, REACH):
            if self._map(at, size, prot, flags, fd):
                return at
        raise NoRoom(errno.ENOMEM, "no free memory within reach")

    def _places(self, near: int, size: int, reach: int) -> Iterator[int]:
        """Where so much is free, near but not too near; at last as near as it gets."""
        for clear, far in ((_CLEAR, min(reach, 4 * _CLEAR)), (0, reach)):
            for start, end in list(self._gaps.around(near)):
                if end <= near:
                    at = min(end, near - clear) - size
                else:
                    at = max(start, near + clear)
                if abs(at - near) > far:
                    continue
                if start <= at <= end - size:
                    yield at & -PAGE_SIZE if end <= near else (at + PAGE_SIZE - 1) & -PAGE_SIZE

    def pages(self) -> list[tuple[int, int]]:
        """What was mapped for stubs."""
        return list(self._pages)

    def unmap(self) -> None:
        """Unmaps all stub pages: no task is in them or will return to them."""
        for start, end in self._pages:
            self._target.syscall(SYS_MUNMAP, start, end - start)
        self._pages.clear()
        self._free = Intervals()

    def _map(self, start: int, size: int, prot: int, flags: int, fd: int) -> bool:
        if not self._target.usable(start, start + size):
            return False
        got = self._target.syscall(
            SYS_MMAP, start, size, prot, flags | MAP_FIXED_NOREPLACE, fd & (1 << 64) - 1, 0
        )
        if got == start:
            self._gaps.remove(start, start + size)
            return True
        if got > 0:  # a kernel before 4.17 takes the address as a hint
            self._target.syscall(SYS_MUNMAP, got, size)
        elif got not in (-errno.EEXIST, -errno.EINVAL, -errno.EPERM):
            raise NoRoom(-got, f"mmap in the target: {os.strerror(-got)}")
        return False

    def _map_code(self, start: int, end: int) -> bool:
        if not self._map(
            start, end - start, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1
        ):
            return False
        self._pages.append((start, end))
        self._free.add(start, end)
        return True

    def _map_chunk(self, origin: int, size: int, reach: int) -> None:
        size = max(_CHUNK, (size + PAGE_SIZE - 1) & -PAGE_SIZE)
        for at in islice(self._places(origin, size, reach - size), 64):
            if self._map_code(at, at + size):
                return

    def _map_exactly(
        self, origin: int, allowed: Allowed, before: int, after: int, bounds: tuple[int, int]
    ) -> int | None:
        low, high = bounds
        for _ in range(32):
            at = find(self._gaps, origin, allowed, before, after, (low, high))
            if at is None:
                return None
            start = (at - before) & -PAGE_SIZE
            end = (at + after + PAGE_SIZE - 1) & -PAGE_SIZE
            if self._map_code(start, end):
                return at
            self._gaps.remove(start, end)
        return None
