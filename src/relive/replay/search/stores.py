"""Instructions that store a word of the extended state and change nothing."""

from __future__ import annotations

from typing import Final, NamedTuple

# Where they store, in a site's block of data.
STORED: Final = 512
LEGACY: Final = 1024


class Store(NamedTuple):
    """An instruction that stores a register and changes nothing.

    code: all of it but the displacement; to: where it stores; at: where the word lies in that.
    """

    code: bytes
    to: int
    at: int


def store(component: int, offset: int) -> Store | None:
    """For a word of the extended state (component as in CPUID leaf 0xD); None: no such store.

    Encodings: Intel SDM vol. 2, FXSAVE64, MOVUPS, VMOVUPS, KMOVQ.
    """
    if component == 0:
        return Store(b"\x48\x0f\xae\x05", LEGACY, offset)
    sizes = {1: 16, 2: 16, 5: 8, 6: 32, 7: 64}
    if component not in sizes:
        return None
    n, part = divmod(offset, sizes[component])
    modrm = bytes((0x05 | (n & 7) << 3,))
    if component == 1:
        return Store((b"\x44" if n > 7 else b"") + b"\x0f\x11" + modrm, STORED, part)
    if component == 2:
        return Store(bytes((0xC5, 0x7C if n > 7 else 0xFC, 0x11)) + modrm, STORED, 16 + part)
    if component == 5:
        return Store(b"\xc4\xe1\xf8\x91" + modrm, STORED, part)
    if component == 7:
        n += 16
    first = 0x61 | (~n >> 3 & 1) << 7 | (~n >> 4 & 1) << 4
    code = bytes((0x62, first, 0x7C, 0x48, 0x11)) + modrm
    return Store(code, STORED, part + (32 if component == 6 else 0))
