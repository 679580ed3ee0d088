"""What a person types to name a place: `libc:malloc`, `file.c:120`, `main+0x12`, `0x401000`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from relive.symbols.errors import SymbolError

_LINE: Final = re.compile(r"(?P<file>.+):(?P<line>[0-9]+)")
_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+")
_OFFSET: Final = re.compile(r"(?P<rest>.+?)\s*\+\s*(?P<offset>0[xX][0-9a-fA-F]+|[0-9]+)")
_MODULE: Final = re.compile(r"(?P<module>[^:]+):(?P<rest>[^:].*)")


@dataclass(frozen=True, slots=True)
class AtAddress:
    """An address of the process, or with a module one of that module's file."""

    address: int
    module: str = ""


@dataclass(frozen=True, slots=True)
class AtLine:
    """The beginning of a source line."""

    file: str
    line: int


@dataclass(frozen=True, slots=True)
class AtSymbol:
    """`offset` bytes behind a symbol.  module, version: "" for any and for the default one."""

    name: str
    module: str = ""
    version: str = ""
    offset: int = 0


Place: TypeAlias = AtAddress | AtLine | AtSymbol


def parse(text: str) -> Place:
    """The place that `text` names.  Raises SymbolError when it makes no sense.

    0xADDRESS (or decimal), MODULE:0xADDRESS as in the module's file, FILE:LINE,
    [MODULE:]SYMBOL[@VERSION][+OFFSET].  A module is named by its path, its file name, or its
    file name without what follows (`libc` for libc.so.6 and libc-2.31.so).
    """
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return AtAddress(_address(text))
    if line := _LINE.fullmatch(text):
        number = int(line["line"])
        if not number:
            raise SymbolError(f"lines are counted from 1: '{text}'")
        return AtLine(line["file"], number)
    module, rest = "", text
    if split := _MODULE.fullmatch(text):
        module, rest = split["module"], split["rest"]
    if _NUMBER.fullmatch(rest):
        return AtAddress(_address(rest), module)
    offset = 0
    if plus := _OFFSET.fullmatch(rest):
        rest, offset = plus["rest"], int(plus["offset"], 0)
    name, at, version = rest.partition("@")
    version = version.removeprefix("@")
    if not name or name[0] == "+" or (at and not version) or any(c.isspace() for c in name):
        raise SymbolError(
            f"'{text}' names no place",
            "write libc:malloc, file.c:120, main+0x12 or 0xADDRESS",
        )
    return AtSymbol(name, module, version, offset)


def _address(text: str) -> int:
    address = int(text, 16 if text[:2] in ("0x", "0X") else 10)
    if address >= 1 << 64:
        raise SymbolError(f"{text} is no address: it has more than 64 bits")
    return address
