"""What a person types to name a place."""

from __future__ import annotations

import pytest

from relive.symbols.errors import SymbolError
from relive.symbols.place import AtAddress, AtLine, AtSymbol, Place, parse


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("malloc", AtSymbol("malloc")),
        ("libc:malloc", AtSymbol("malloc", "libc")),
        ("/usr/lib/libc.so.6:malloc", AtSymbol("malloc", "/usr/lib/libc.so.6")),
        ("main+0x12", AtSymbol("main", offset=0x12)),
        ("main + 18", AtSymbol("main", offset=18)),
        ("libc:memcpy@GLIBC_2.2.5+4", AtSymbol("memcpy", "libc", "GLIBC_2.2.5", 4)),
        ("memcpy@@GLIBC_2.14", AtSymbol("memcpy", version="GLIBC_2.14")),
        ("file.c:120", AtLine("file.c", 120)),
        ("src/a.b/file.c:1", AtLine("src/a.b/file.c", 1)),
        ("0x401000", AtAddress(0x401000)),
        (" 4198400 ", AtAddress(4198400)),
        ("python3:0x1234", AtAddress(0x1234, "python3")),
        ("main.(*T).Method", AtSymbol("main.(*T).Method")),
    ],
)
def test_places(text: str, place: Place) -> None:
    assert parse(text) == place


@pytest.mark.parametrize("text", ["", " ", "a b", "f@", "@v", "file.c:0", "0x" + "f" * 17, "+4"])
def test_no_places(text: str) -> None:
    with pytest.raises(SymbolError):
        parse(text)
