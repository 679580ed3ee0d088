"""Compressed sections (gABI, "Compression")."""

from __future__ import annotations

import zlib
from typing import Final

from relive.symbols.errors import SymbolError

ELFCOMPRESS_ZLIB: Final = 1
ELFCOMPRESS_ZSTD: Final = 2


def decompressed(kind: int, data: bytes) -> bytes:
    """The contents of a section.  Raises SymbolError."""
    try:
        if kind == ELFCOMPRESS_ZLIB:
            return zlib.decompress(data)
        if kind == ELFCOMPRESS_ZSTD:
            import zstandard

            return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    except Exception as error:  # zlib.error, zstandard.ZstdError
        raise SymbolError(f"a section can't be decompressed: {error}") from None
    raise SymbolError(f"a section is compressed in an unknown way ({kind})")
