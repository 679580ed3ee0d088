"""Libraries that a process loads: the dynamic linker's own breakpoint for debuggers."""

from __future__ import annotations

from typing import Final

from relive.live.process import Process
from relive.symbols.errors import SymbolError
from relive.symbols.process import AT_BASE, AT_ENTRY

_R_BRK: Final = 16
"""Offset of r_brk in struct r_debug (link.h)."""
_STATE: Final = 24
RT_CONSISTENT: Final = 0


def notification(process: Process) -> int:
    """Address that the dynamic linker executes when libraries came or went; 0 for none.

    Of a program that has just been executed it is found by name, later in struct r_debug.
    """
    try:
        debug = process.symbols.r_debug()
        if debug:
            address = int.from_bytes(process.read(debug + _R_BRK, 8), "little")
            if address:
                return address
        base = process.symbols.auxiliary(AT_BASE)
    except OSError:
        return 0
    if not base:
        return 0
    module = process.symbols.module_at(base)
    if module is None:
        return 0
    for name in ("_dl_debug_state", "dl_debug_state"):
        try:
            return process.symbols.resolve(f"{module.path}:{name}")[0].address
        except SymbolError:
            continue
    return 0


def consistent(process: Process) -> bool:
    """Whether the list of libraries is complete at the moment."""
    try:
        debug = process.symbols.r_debug()
        if not debug:
            return True
        state = int.from_bytes(process.read(debug + _STATE, 4), "little")
    except OSError:
        return True
    return state == RT_CONSISTENT


def entry(process: Process) -> int:
    """Where the program itself begins, after the dynamic linker's work; 0 when not known."""
    try:
        return process.symbols.auxiliary(AT_ENTRY)
    except OSError:
        return 0
