"""Digests of a process's own pages: both ways to find them agree, and see what they should."""

from __future__ import annotations

import mmap
import os
import random
import time
from collections.abc import Iterator

import pytest

from relive import _core

SIZE = 64 << 20
#: MAP_NORESERVE (mmap(2)); the mmap module has it from Python 3.13 on
NORESERVE = 0x4000


@pytest.fixture
def memory() -> Iterator[tuple[int, mmap.mmap]]:
    """A sparse private mapping of this process, and its address."""
    with mmap.mmap(-1, SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE) as area:
        import ctypes

        view = ctypes.c_char.from_buffer(area)
        address = ctypes.addressof(view)
        yield address, area
        del view


def digest(address: int, length: int, *, scan: bool) -> int:
    fd = os.open("/proc/self/mem", os.O_RDONLY)
    try:
        return _core.digest_memory(os.getpid(), fd, address, length, scan)
    finally:
        os.close(fd)


def test_both_ways_agree(memory: tuple[int, mmap.mmap]) -> None:
    address, area = memory
    source = random.Random(4)
    seen = {digest(address, SIZE, scan=True)}
    assert seen == {digest(address, SIZE, scan=False)} == {0}
    for _ in range(60):
        at = source.randrange(SIZE - 20000)
        area[at : at + 20000] = source.randbytes(20000)
        start = source.randrange(0, at)
        found = digest(address + start, SIZE - start, scan=True)
        assert found == digest(address + start, SIZE - start, scan=False)
        seen.add(found)
    assert len(seen) == 61


def test_zeros_count_for_nothing(memory: tuple[int, mmap.mmap]) -> None:
    address, area = memory
    area[5 << 20] = 1
    before = digest(address, SIZE, scan=True)
    area[9 << 20] = 0
    assert digest(address, SIZE, scan=True) == before
    area[9 << 20] = 1
    assert digest(address, SIZE, scan=True) != before


def test_terabytes_take_no_time() -> None:
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE
    with mmap.mmap(-1, 1 << 43, flags) as area:
        import ctypes

        area[1 << 42] = 7
        view = ctypes.c_char.from_buffer(area)
        try:
            before = time.process_time()
            assert digest(ctypes.addressof(view), 1 << 43, scan=True)
            # reading the pagemap of 8 TiB takes about ten seconds
            assert time.process_time() - before < 1
        finally:
            del view
