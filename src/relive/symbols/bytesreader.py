"""Reading the encodings of DWARF from bytes, one after another."""

from __future__ import annotations

import struct

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_S16 = struct.Struct("<h")
_S32 = struct.Struct("<i")
_S64 = struct.Struct("<q")


class Reader:
    """A position in bytes.  Raises struct.error or IndexError at the end."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self.data = data
        self.at = at
        self.end = len(data) if end is None else end

    def skip(self, count: int) -> None:
        self.at += count

    def u8(self) -> int:
        value = self.data[self.at]
        self.at += 1
        return value

    def s8(self) -> int:
        value = self.u8()
        return value - 256 if value & 0x80 else value

    def _take(self, kind: struct.Struct) -> int:
        value: int = kind.unpack_from(self.data, self.at)[0]
        self.at += kind.size
        return value

    def u16(self) -> int:
        return self._take(_U16)

    def u32(self) -> int:
        return self._take(_U32)

    def u64(self) -> int:
        return self._take(_U64)

    def s16(self) -> int:
        return self._take(_S16)

    def s32(self) -> int:
        return self._take(_S32)

    def s64(self) -> int:
        return self._take(_S64)

    def uleb(self) -> int:
        """An unsigned LEB128 number (DWARF 5, 7.6)."""
        value = shift = 0
        while True:
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    def sleb(self) -> int:
        """A signed LEB128 number."""
        value = shift = 0
        while True:
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value - (1 << shift) if byte & 0x40 else value

    def string(self) -> str:
        """Up to a zero byte, which is skipped."""
        stop = self.data.index(b"\0", self.at)
        value = self.data[self.at : stop].decode(errors="surrogateescape")
        self.at = stop + 1
        return value

    def initial_length(self) -> tuple[int, bool]:
        """A unit's length, and whether its offsets take 8 bytes (DWARF 5, 7.4)."""
        length = self.u32()
        if length == 0xFFFFFFFF:
            return self.u64(), True
        return length, False

    def offset(self, wide: bool) -> int:
        return self.u64() if wide else self.u32()
