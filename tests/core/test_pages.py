"""Digests of a process's own pages: both ways to find them agree, and see what they should."""

from __future__ import annotations

import mmap
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

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


def contents(address: int, length: int) -> int:
    fd = os.open("/proc/self/mem", os.O_RDONLY)
    try:
        return _core.digest_contents(fd, address, length)
    finally:
        os.close(fd)


def test_contents_do_not_depend_on_whose_a_page_is(tmp_path: Path) -> None:
    """As where an instruction was interrupted after its page fault and before its write."""
    path = tmp_path / "file"
    path.write_bytes(random.Random(4).randbytes(5 * 4096))
    with (
        path.open("r+b") as file,
        mmap.mmap(file.fileno(), 5 * 4096, mmap.MAP_PRIVATE) as area,
    ):
        import ctypes

        view = ctypes.c_char.from_buffer(area)
        address = ctypes.addressof(view)
        try:
            own = digest(address, 5 * 4096, scan=True)
            before = contents(address, 5 * 4096)
            area[8192] = area[8192]
            assert digest(address, 5 * 4096, scan=True) != own
            assert contents(address, 5 * 4096) == before
            area[8192] ^= 1
            assert contents(address, 5 * 4096) != before
            area[8192] ^= 1
            # what lies beyond the end can't be read, and what lies behind that can
            path.write_bytes(path.read_bytes()[:4096])
            area_end = contents(address, 5 * 4096)
            assert area_end == contents(address, 3 * 4096) != before
        finally:
            del view
