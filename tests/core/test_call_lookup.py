"""call_lookup on a table made by hand (table_by_hand.inc)."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path

import pytest

from .clib import CORE, build_directory, compile_shared
from .params_harness import U64_6, CDesc

ANY = (0,) * 6


@pytest.fixture(scope="module")
def lib() -> ctypes.CDLL:
    # table.c is copied to where its generated data is the hand-made one
    where = build_directory() / "table"
    where.mkdir()
    shutil.copy(CORE / "table.c", where)
    shutil.copy(Path(__file__).with_name("table_by_hand.inc"), where / "table_data.inc")
    lib = compile_shared("table", [str(where / "table.c")])
    lib.call_lookup.argtypes = [ctypes.c_uint64, U64_6]
    lib.call_lookup.restype = ctypes.POINTER(CDesc)
    return lib


@pytest.mark.parametrize(
    ("nr", "args", "expected"),
    [
        (0, ANY, (0, 0)),
        (1, ANY, None),
        (16, ANY, (16, 0)),
        (16, (0, 0x5401, 0, 0, 0, 0), (16, 0x20)),  # the first variant that matches
        (16, (0, 0x7_0000_5401, 0, 0, 0, 0), (16, 0x20)),  # 32 bits count
        (16, (0, 0x5402, 0, 0, 0, 0), (16, 1)),
        (16, (0x5401, 0, 0, 0, 0, 0), (16, 0)),
        (7, ANY, None),
        (7, (0, 0, 0, 0, 0, (1 << 64) - 1), (7, 0)),
        (1023, ANY, (1023, 0)),
        (1024, ANY, None),
        (1 << 32, ANY, None),
        ((1 << 64) - 1, ANY, None),
    ],
)
def test_lookup(
    lib: ctypes.CDLL, nr: int, args: tuple[int, ...], expected: tuple[int, int] | None
) -> None:
    found = lib.call_lookup(nr, U64_6(*args))
    assert ((found[0].nr, found[0].flags) if found else None) == expected
