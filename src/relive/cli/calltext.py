"""The arguments of a system call as strace prints them, from what the event holds."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from relive.cli.text import escape
from relive.syscalls.model import Arg, Kind
from relive.syscalls.table import call_for
from relive.trace.kinds import InWhat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relive.trace.events import InItem, OutItem

#: how much of a string or a block is shown, as strace's -s
SHOWN = 32
AT_FDCWD = -100
U64 = (1 << 64) - 1

INPUTS = (Kind.STR, Kind.IN, Kind.INOUT, Kind.IOV_IN, Kind.MSG_IN, Kind.MMSG_IN)
#: blocks of these are text as often as not; of the others they are binary structs
TEXTUAL = ("bytes", "str", "path", "iovec")


def arguments(
    nr: int,
    values: Sequence[int],
    inputs: Sequence[InItem] = (),
    outputs: Sequence[OutItem] | None = None,
    *,
    wide: bool = False,
) -> str:
    """What stands between the parentheses.

    values: the six argument registers.  inputs: what they pointed at.  outputs: what the
    call wrote, None when it has not ended.
    """
    facts = call_for(nr, values)
    if facts is None:
        return ", ".join(hex(value) for value in values)
    shown = []
    for index, arg in enumerate(facts.args):
        items = [item for item in inputs if item.arg == index]
        shown.append(argument(arg, values[index], items, outputs or (), wide))
    return ", ".join(shown)


def argument(
    arg: Arg, value: int, items: Sequence[InItem], outputs: Sequence[OutItem], wide: bool
) -> str:
    """One argument: a number, or what it points at."""
    if arg.kind is Kind.SCALAR:
        return scalar(arg.fmt, value)
    if value == 0:
        return "NULL"
    if arg.kind is Kind.STRV and items:
        strings = ", ".join(quoted(item.data, item.length, wide) for item in items)
        return f"[{strings}]"
    if arg.kind in INPUTS and items:
        item = items[-1] if arg.kind is Kind.IOV_IN else items[0]
        if item.what is InWhat.FAULT:
            return hex(value)
        if item.what is InWhat.STRING or arg.fmt in TEXTUAL:
            return quoted(item.data, item.length, wide)
        return struct(item.data, item.length, wide)
    for output in outputs:
        if output.address == value and output.data:
            if arg.fmt in TEXTUAL:
                return quoted(output.data, len(output.data), wide)
            return struct(output.data, len(output.data), wide)
    return hex(value)


def scalar(fmt: str, value: int) -> str:
    """A number as its format wants it."""
    signed32 = (value & 0xFFFFFFFF ^ 0x80000000) - 0x80000000
    if fmt == "dfd" and signed32 == AT_FDCWD:
        return "AT_FDCWD"
    if fmt in ("fd", "dfd", "int", "id"):
        return str(signed32)
    if fmt == "long":
        return str((value & U64 ^ 1 << 63) - (1 << 63))
    if fmt in ("size", "ulong"):
        return str(value)
    if fmt == "octal":
        return f"0{value:o}" if value else "0"
    if fmt == "signal":
        return signal_name(signed32)
    if fmt == "addr":
        return hex(value) if value else "NULL"
    return hex(value) if value > 9 else str(value)


def signal_name(number: int) -> str:
    """SIGCHLD, SIGRT_3; the number itself when there is no such signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRT_{number - 32}" if 32 < number <= 64 else str(number)


def quoted(data: bytes, length: int, wide: bool) -> str:
    """Bytes as a C string; `...` follows when there are more."""
    kept = data if wide else data[:SHOWN]
    text = "".join(
        "\\" + chr(byte) if byte in b'"\\' else chr(byte) if 32 <= byte < 127 else octal(byte)
        for byte in kept
    )
    return f'"{text}"' + ("..." if length > len(kept) else "")


def octal(byte: int) -> str:
    """A byte that is not printable, in C."""
    return escape(chr(byte)) if byte in b"\n\r\t" else f"\\{byte:03o}"


def struct(data: bytes, length: int, wide: bool) -> str:
    """A struct, as bytes: its meaning is not known here."""
    kept = data if wide else data[: SHOWN // 2]
    return "{" + kept.hex() + ("..." if length > len(kept) else "") + "}"
