"""Where stubs may lie."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import pytest

from relive.tracee.maps import Mapping
from relive.tracee.patching.arenas import HEAP_ROOM, Arenas, NoRoom
from relive.tracee.patching.space import ANY
from relive.tracee.patching.target import Registers

PROGRAM_END = 0x1641000
HEAP_END = 0x18AA9000
MMAP = 9


class Mapped:
    """A target of which only the mappings are real: a program in the lowest 2 GiB."""

    pid = os.getpid()  # (its program is none of these)

    def __init__(self) -> None:
        self._maps = [
            Mapping(f"00400000-{PROGRAM_END:08x} r-xp 00000000 00:01 1 /a/program"),
            Mapping(f"18a88000-{HEAP_END:08x} rw-p 00000000 00:00 0 [heap]"),
        ]

    def read(self, addr: int, size: int) -> bytes:
        raise OSError

    def write(self, addr: int, data: bytes) -> None:
        raise OSError

    def maps(self) -> Sequence[Mapping]:
        return self._maps

    def syscall(self, nr: int, *args: int) -> int:
        assert nr == MMAP
        return args[0]

    def threads(self) -> Iterable[int]:
        return ()

    def get_registers(self, tid: int) -> tuple[int, ...]:
        raise OSError

    def set_registers(self, tid: int, registers: Registers) -> None:
        raise OSError

    def usable(self, start: int, end: int) -> bool:
        return True


def test_a_single_window_may_lie_nearer_behind_the_heap() -> None:
    """A program in the lowest 2 GiB has half of its windows in what is left free for the heap; and
    an owner that takes its stubs away when the heap grows need not leave so much."""
    origin = 0x75C25E
    window = (None, None, None, (0x44,))  # 16 MiB from 0x4475c25e on
    assert HEAP_END < origin + 0x44000000 < HEAP_END + HEAP_ROOM
    wary = Arenas(Mapped())
    wary.refresh()
    with pytest.raises(NoRoom):
        wary.place(origin, window, 64, 256)
    room = 16 << 20
    near = Arenas(Mapped(), room)
    near.refresh()
    at = near.place(origin, window, 64, 256)
    assert (at - origin) >> 24 == 0x44
    with pytest.raises(NoRoom):  # but not all of it
        near.place(HEAP_END, (None, None, None, (0,)), 64, 256)
    anywhere = near.place(HEAP_END, ANY, 64, 256)
    assert not HEAP_END <= anywhere < HEAP_END + HEAP_ROOM
