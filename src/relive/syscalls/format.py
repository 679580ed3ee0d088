"""A system call as a line of text, much as strace prints it.

What the program handed over and what it got comes from the recording's items;
what is not there is shown as an address.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from relive.syscalls import decode
from relive.syscalls.decode import ELEMENT_LIMIT, mode_text, open_flags, quoted, sockaddr
from relive.syscalls.model import Arg, Facts, Kind, Rule
from relive.syscalls.names import (
    RESTARTS,
    VALUES,
    flags_text,
    signal_name,
    value_text,
)
from relive.syscalls.table import call_for, name_of

_STRING: Final = 1
_FAULT: Final = 2

_AT_FDCWD: Final = -100
_O_CREAT: Final = 0o100
_O_TMPFILE: Final = 0o20000000
_SOL_SOCKET: Final = 1
_SOL_TCP: Final = 6
_MSGHDR: Final = struct.Struct("<QI4xQQQQi4x")
"""name, namelen, iov, iovlen, control, controllen, flags"""
_STRV_LIMIT: Final = 32


class InPart(Protocol):
    """What an argument pointed at when the call began (an item of the input blob)."""

    @property
    def arg(self) -> int:
        """Index of the argument."""

    @property
    def what(self) -> int:
        """0 block, 1 string, 2 memory that could not be read to its end."""

    @property
    def length(self) -> int:
        """Bytes there were."""

    @property
    def data(self) -> bytes:
        """The first of them."""


class OutPart(Protocol):
    """Bytes the call put into memory (an item of the output blob)."""

    @property
    def address(self) -> int:
        """Where they are."""

    @property
    def data(self) -> bytes:
        """What they are."""


def _s32(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def _s64(value: int) -> int:
    value &= 0xFFFFFFFFFFFFFFFF
    return value - (1 << 64) if value >> 63 else value


def _address(value: int) -> str:
    return hex(value) if value else "NULL"


class _Line:
    """One call while it is being printed."""

    def __init__(
        self,
        nr: int,
        args: Sequence[int],
        result: int | None,
        in_items: Iterable[InPart],
        out_items: Iterable[OutPart],
    ) -> None:
        self.name = name_of(nr)
        self.args = args
        self.result = result
        self.given: dict[int, list[InPart]] = {}
        for item in in_items:
            self.given.setdefault(item.arg, []).append(item)
        self.written = list(out_items)

    # ------------------------------------------------------------ pieces

    def _got(self, addr: int, most: int | None = None) -> bytes | None:
        """The bytes the call wrote from `addr` on, at most `most`; None when it wrote none."""
        for item in self.written:
            offset = addr - item.address
            if addr and 0 <= offset < len(item.data):
                return item.data[offset : None if most is None else offset + most]
        return None

    def _iovecs(self, data: bytes, count: int, buffers: Callable[[int, int], str]) -> str:
        shown: list[str] = []
        for i in range(min(len(data) // 16, ELEMENT_LIMIT)):
            base, length = struct.unpack_from("<QQ", data, i * 16)
            shown.append(f"{{iov_base={buffers(base, length)}, iov_len={length}}}")
        if count > len(shown):
            shown.append("...")
        return "[" + ", ".join(shown) + "]"

    def _received_iovecs(self, data: bytes, count: int) -> str:
        def buffer(base: int, length: int) -> str:
            got = self._got(base, length)
            return _address(base) if got is None else quoted(got)

        return self._iovecs(data, count, buffer)

    def _sent_iovecs(self, data: bytes, count: int, items: list[InPart]) -> str:
        """`items`: the buffers, one for each base that is not NULL; those shown are used up."""

        def buffer(base: int, length: int) -> str:
            if not base or not items:
                return _address(base)
            item = items.pop(0)
            return quoted(item.data, length=item.length)

        return self._iovecs(data, count, buffer)

    # ------------------------------------------------------------ arguments

    def _scalar(self, fmt: str, value: int, facts: Facts) -> str:
        kind, _, names = fmt.partition(":")
        if kind == "flags":
            return self._flags(names, value)
        if kind == "enum":
            return self._constant(names, value, facts)
        if kind in ("fd", "int"):
            return str(_s32(value))
        if kind == "dfd":
            return "AT_FDCWD" if _s32(value) == _AT_FDCWD else str(_s32(value))
        if kind == "long":
            return str(_s64(value))
        if kind in ("size", "ulong"):
            return str(value)
        if kind == "id":
            return "-1" if value & 0xFFFFFFFF == 0xFFFFFFFF else str(value & 0xFFFFFFFF)
        if kind == "octal":
            return mode_text(value & 0xFFFFFFFF)
        if kind == "signal":
            return signal_name(_s32(value))
        if kind == "addr":
            return _address(value)
        return hex(value)

    def _flags(self, names: str, value: int) -> str:
        if names == "open":
            if self.name in ("open", "openat", "open_by_handle_at", "mq_open", "fcntl", "ioctl"):
                return open_flags(value)
        elif names == "map":
            kind = value_text("maptype", value & 0x0F)
            rest = flags_text("map", value & 0xFFFFFFF0)
            return kind if rest == "0" else f"{kind}|{rest}"
        elif names == "socktype":
            kind = value_text("socktype", value & 0x0F)
            rest = flags_text("socktype", value & 0xFFFFFFF0)
            if value & 0x0F:
                return kind if rest == "0" else f"{kind}|{rest}"
        elif names == "clone":
            ends = value & 0xFF if self.name == "clone" else 0
            text = flags_text("clone", value & ~ends)
            if ends:
                text = signal_name(ends) if text == "0" else f"{text}|{signal_name(ends)}"
            return text
        elif names == "access":
            return "F_OK" if value & 0xFFFFFFFF == 0 else flags_text(names, value)
        elif names == "prot":
            return "PROT_NONE" if value == 0 else flags_text(names, value)
        return flags_text(names, value & 0xFFFFFFFF if names != "fanotify_mark" else value)

    def _constant(self, names: str, value: int, facts: Facts) -> str:
        number = _s32(value)
        if names == "futex_op":
            text = facts.label if facts.label.startswith("FUTEX_") else str(number & ~0x180)
            text += "_PRIVATE" if number & 128 else ""
            return text + ("|FUTEX_CLOCK_REALTIME" if number & 256 else "")
        if names in VALUES:
            if names == "sockopt":
                level = self.args[1]
                names = {_SOL_SOCKET: "sockopt", _SOL_TCP: "tcpopt"}.get(level, "")
            return value_text(names, number)
        if facts.label != self.name and names == self.name:
            return facts.label
        return value_text(names, number) if abs(number) < 4096 else hex(value & 0xFFFFFFFF)

    def _strings(self, items: list[InPart]) -> str:
        shown = [quoted(item.data, length=item.length) for item in items[:_STRV_LIMIT]]
        return "[" + ", ".join(shown + ["..."] * (len(items) > _STRV_LIMIT)) + "]"

    def _block(self, arg: Arg, index: int, value: int) -> str:
        array = arg.rule in (Rule.ARG, Rule.RET)
        before = after = None
        given = self.given.get(index)
        if arg.kind is not Kind.OUT and given:
            item = given[0]
            before = decode.block(arg.fmt, item.data, item.length, array=array)
        if arg.kind is not Kind.IN:
            got = self._got(value)
            if got is not None:
                if arg.rule is Rule.FIXED:
                    got = got[: arg.elem]
                after = decode.block(arg.fmt, got, len(got), array=array)
        if arg.fmt == "pollfd" and after is not None:
            return after  # has the events too
        if before is not None and after is not None and before != after:
            return f"{before} => {after}"
        return after or before or _address(value)

    def _message(self, index: int, value: int, *, sent: bool) -> str:
        items = list(self.given.get(index, ()))
        if not items or len(items[0].data) < _MSGHDR.size:
            return _address(value)
        name, namelen, iov, iovlen, control, controllen, flags = _MSGHDR.unpack(
            items.pop(0).data[: _MSGHDR.size]
        )
        parts: list[str] = []
        if sent:
            if name and namelen and items:
                parts.append(f"msg_name={sockaddr(items.pop(0).data)}")
            if iov and items:
                array = items.pop(0).data
                parts.append(f"msg_iov={self._sent_iovecs(array, iovlen, items)}")
            if control:
                parts.append(f"msg_control={control:#x}, msg_controllen={controllen}")
            parts.append(f"msg_flags={flags_text('msg', flags & 0xFFFFFFFF)}")
            return "{" + ", ".join(parts) + "}"
        got_name = self._got(name)
        if name and got_name is not None:
            parts.append(f"msg_name={sockaddr(got_name)}")
        if iov and items:
            parts.append(f"msg_iov={self._received_iovecs(items.pop(0).data, iovlen)}")
        after = self._got(value + 40, 12)
        if after is not None and len(after) >= 12:
            controllen, flags = struct.unpack("<QI", after)
        if controllen:
            parts.append(f"msg_control={_address(control)}, msg_controllen={controllen}")
        parts.append(f"msg_flags={flags_text('msg', flags & 0xFFFFFFFF)}")
        return "{" + ", ".join(parts) + "}"

    def argument(self, arg: Arg, index: int, facts: Facts) -> str:
        """One argument as text."""
        value = self.args[index]
        items = self.given.get(index, [])
        if arg.kind is Kind.SCALAR:
            return self._scalar(arg.fmt, value, facts)
        if value == 0:
            return "NULL"
        if items and items[0].what == _FAULT and not items[0].data:
            return _address(value)
        if arg.kind is Kind.STR:
            if not items or items[0].what != _STRING:
                return _address(value)
            limit = None if arg.fmt == "path" else decode.STRING_LIMIT
            return quoted(items[0].data, length=items[0].length, limit=limit)
        if arg.kind is Kind.STRV:
            return self._strings(items) if items else "[]"
        if arg.kind in (Kind.IOV_IN, Kind.IOV_OUT):
            if not items:
                return _address(value)
            count = items[0].length // 16
            if arg.kind is Kind.IOV_OUT:
                return self._received_iovecs(items[0].data, count)
            return self._sent_iovecs(items[0].data, count, items[1:])
        if arg.kind in (Kind.MSG_IN, Kind.MSG_OUT):
            return self._message(index, value, sent=arg.kind is Kind.MSG_IN)
        if arg.kind in (Kind.MMSG_IN, Kind.MMSG_OUT):
            return _address(value)
        return self._block(arg, index, value)

    # ------------------------------------------------------------ the whole

    def arguments(self, facts: Facts) -> list[str]:
        """All arguments as text, without a mode that is not looked at."""
        args = facts.args
        if self.name in ("open", "openat"):
            flags = self.args[len(args) - 2]
            if not flags & _O_CREAT and flags & _O_TMPFILE != _O_TMPFILE:
                args = args[:-1]
        return [self.argument(arg, i, facts) for i, arg in enumerate(args)]

    def ending(self, facts: Facts | None) -> str:
        """What follows the equals sign."""
        result = self.result
        if result is None:
            return "?"
        if result in (-code for code in RESTARTS):
            return f"? {RESTARTS[-result]}"
        if -4095 <= result < 0:
            name = errno.errorcode.get(-result, f"E{-result}")
            return f"-1 {name} ({os.strerror(-result)})"
        fmt = facts.ret if facts else "int"
        if fmt == "addr":
            return hex(result & 0xFFFFFFFFFFFFFFFF)
        if fmt in ("hex", "octal"):
            return f"0{result:o}" if fmt == "octal" else hex(result)
        if fmt.startswith("flags:"):
            return f"{result:#x} ({self._flags(fmt.partition(':')[2], result)})"
        if fmt == "signal" and result:
            return f"{result} ({signal_name(result)})"
        return str(result)


def format_call(
    nr: int,
    args: Sequence[int],
    result: int | None = None,
    in_items: Iterable[InPart] | None = None,
    out_items: Iterable[OutPart] | None = None,
) -> str:
    """One call on one line: ``openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC) = 3``.

    Args:
        nr: the system call's number; an unknown one prints as ``syscall_512(0x0, ...)``.
        args: the six argument registers, unsigned 64-bit.
        result: the raw result, a negative errno for a failure; None (it did not return, or has
            not yet) prints ``?``.
        in_items: the decoded input blob; None when there is none.
        out_items: the decoded output blob, likewise.
    """
    full = (*args, 0, 0, 0, 0, 0, 0)[:6]
    line = _Line(nr, full, result, in_items or (), out_items or ())
    facts = call_for(nr, full)
    shown = [hex(value) for value in full] if facts is None else line.arguments(facts)
    return f"{line.name}({', '.join(shown)}) = {line.ending(facts)}"
