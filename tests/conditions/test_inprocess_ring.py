"""The reader's side of the ring: records that wrap, are incomplete, or are not what they seem."""

from __future__ import annotations

import struct
from array import array

import pytest

from relive import _core

OFFSET, SIZE = 64, 256
SIZES = array("I", [0, 5, 6])


def _ring(records: list[tuple[int, list[int]]], position: int) -> tuple[bytearray, int]:
    """Memory with these records (site, words after the first two) from a position on."""
    memory = bytearray(OFFSET + SIZE)
    for site, words in records:
        for number, word in enumerate((position + 1, site, *words)):
            at = OFFSET + (position + 8 * number) % SIZE
            memory[at : at + 8] = struct.pack("<Q", word)
        position += 8 * (2 + len(words))
    return memory, position


def _words(records: bytes) -> list[int]:
    return memoryview(records).cast("Q").tolist()


@pytest.mark.parametrize("start", [0, 8, 200, 248, 1 << 40, (1 << 40) + 232])
def test_records_are_taken_in_order(start: int) -> None:
    memory, end = _ring([(1, [7, 8, 9]), (2, [1, 2, 3, 4]), (1, [5, 5, 5])], start)
    records, position = _core.ring_take(memory, OFFSET, SIZE, start, SIZES, 1 << 20)
    assert position == end
    assert _words(records) == [
        *(start + 1, 1, 7, 8, 9),
        *(start + 41, 2, 1, 2, 3, 4),
        *(start + 89, 1, 5, 5, 5),
    ]


def test_ends_before_an_incomplete_record() -> None:
    memory, _ = _ring([(1, [7, 8, 9]), (1, [1, 2, 3])], 0)
    memory[OFFSET + 40 : OFFSET + 48] = bytes(8)
    records, position = _core.ring_take(memory, OFFSET, SIZE, 0, SIZES, 1 << 20)
    assert (len(records), position) == (40, 40)
    assert _core.ring_take(memory, OFFSET, SIZE, 40, SIZES, 1 << 20) == (b"", 40)


def test_the_round_before_is_not_taken_again() -> None:
    full = [(1, [n, n, n]) for n in range(SIZE // 40)]
    memory, end = _ring(full, 0)
    records, position = _core.ring_take(memory, OFFSET, SIZE, 0, SIZES, 1 << 20)
    assert (len(records), position) == (end, end)
    assert _core.ring_take(memory, OFFSET, SIZE, SIZE, SIZES, 1 << 20) == (b"", SIZE)


def test_limit() -> None:
    memory, _ = _ring([(1, [7, 8, 9]), (1, [1, 2, 3]), (1, [1, 2, 3])], 0)
    assert _core.ring_take(memory, OFFSET, SIZE, 0, SIZES, 41)[1] == 80
    assert _core.ring_take(memory, OFFSET, SIZE, 0, SIZES, 0) == (b"", 0)


@pytest.mark.parametrize("site", [0, 3, 1 << 60])
def test_unknown_site(site: int) -> None:
    memory, _ = _ring([(site, [7, 8, 9])], 0)
    with pytest.raises(ValueError, match="not known"):
        _core.ring_take(memory, OFFSET, SIZE, 0, SIZES, 1 << 20)


@pytest.mark.parametrize(
    ("offset", "size", "position"),
    [(0, 100, 0), (OFFSET + 8, SIZE, 0), (-8, SIZE, 0), (4, 64, 0), (0, 64, 4), (1 << 60, 64, 0)],
)
def test_no_ring(offset: int, size: int, position: int) -> None:
    with pytest.raises(ValueError, match="no ring"):
        _core.ring_take(bytearray(OFFSET + SIZE), offset, size, position, SIZES, 100)
