"""Which unit of debugging information an address belongs to, as .debug_aranges says."""

from __future__ import annotations

import struct

from relive.symbols.bytesreader import Reader


def ranges(data: bytes) -> list[tuple[int, int, int]]:
    """Start and end of stretches of code, and the offset of their unit (DWARF 5, 6.1.2), sorted."""
    found: list[tuple[int, int, int]] = []
    offset = 0
    try:
        while offset + 4 <= len(data):
            reader = Reader(data, offset)
            length, wide = reader.initial_length()
            end = reader.at + length
            version, info = reader.u16(), reader.offset(wide)
            address_size, segment_size = reader.u8(), reader.u8()
            if version == 2 and address_size == 8 and segment_size == 0:
                # tuples begin at a multiple of their size from the unit's start
                reader.at += -(reader.at - offset) % 16
                while reader.at + 16 <= end:
                    start, size = reader.u64(), reader.u64()
                    if size:
                        found.append((start, start + size, info))
            offset = end
    except (struct.error, IndexError):
        pass  # damaged: what was read is good
    found.sort()
    return found
