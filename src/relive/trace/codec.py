"""Compression, checksums and the chunk header: what writer and reader share.

Chunk header, 40 bytes, little endian:

    0        4        8        12       16       20       24             32             40
    +--------+--------+--------+--------+--------+--------+--------------+--------------+
    | "RLC1" | flags  | seq    | stored | raw    | events | first event  | checksum     |
    +--------+--------+--------+--------+--------+--------+--------------+--------------+

checksum = xxh3_64(checksum of the previous chunk as u64 LE (0 for the first)
                   + header bytes 0..31 + stored payload).
"""

from __future__ import annotations

import struct
import sys

TYPE_CHECKING = False  # the name type checkers know, without the cost of `typing`
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

FORMAT = 1
MARKER_TEXT = f"relive recording\nformat {FORMAT}\n"
MAGIC = b"RLC1"
HEADER_SIZE = 40
HEADER_HASHED = 32
FLAG_LAST = 1
MAX_RAW = 1 << 30
# No event is shorter than its own header.
MIN_EVENT = 16
# ZSTD_compressBound() adds 1/256 and less than 1 KiB.
MAX_STORED = MAX_RAW + (MAX_RAW >> 8) + 1024
# zstd's densest block is an RLE block: 4 bytes stand for at most 128 KiB.
MAX_RATIO = (128 << 10) // 4

HEADER = struct.Struct("<4sIIIIIQQ")
HEADER_FRONT = struct.Struct("<4sIIIIIQ")
U64 = struct.Struct("<Q")


def zstd() -> Any:
    """The C module of `zstandard`, without that package's own start-up.

    `import zstandard` also imports platform, typing, re and enum, which nothing
    here needs: 9 ms against 1 ms for the C module by itself.  Where the shortcut
    does not work (another layout of the package), the ordinary import does.
    """
    name = "zstandard.backend_c"
    module = sys.modules.get(name)
    if module is not None:
        return module
    from importlib.machinery import ExtensionFileLoader, PathFinder

    package = PathFinder.find_spec("zstandard")
    spec = package and PathFinder.find_spec(name, package.submodule_search_locations)
    if spec is not None and isinstance(spec.loader, ExtensionFileLoader):
        try:
            module = spec.loader.create_module(spec)
            spec.loader.exec_module(module)
            # A later `import zstandard` must find this same module: it can't be loaded twice.
            sys.modules[name] = module
            return module
        except (ImportError, AttributeError):
            sys.modules.pop(name, None)
    import zstandard

    return zstandard


def compressor() -> Callable[[bytes | memoryview], bytes]:
    """A reusable compressor (one thread at a time): bytes to one zstd frame with its size."""
    made = zstd().ZstdCompressor(level=1, write_checksum=False, write_content_size=True)
    compress: Callable[[bytes | memoryview], bytes] = made.compress
    return compress


def decompressor() -> Callable[[bytes | memoryview, int], bytes]:
    """A reusable decompressor (one thread at a time) of whole frames.

    decompress(frame, raw_len) gives exactly raw_len bytes or raises ValueError.
    """
    module = zstd()
    context = module.ZstdDecompressor()
    error: type[Exception] = module.ZstdError

    def decompress(frame: bytes | memoryview, raw_len: int) -> bytes:
        try:
            # The frame's own claim decides how much is allocated, so it is checked first.
            size: int = module.get_frame_parameters(frame).content_size
            if size != raw_len:
                raise ValueError(f"compressed data of {size} bytes where {raw_len} are announced")
            if raw_len == 0:
                return b""
            raw: bytes = context.decompress(frame, max_output_size=raw_len, allow_extra_data=False)
        except error as e:
            raise ValueError(f"compressed data is damaged ({e})") from None
        except MemoryError:
            raise ValueError(f"no memory for {raw_len} bytes") from None
        if len(raw) != raw_len:
            raise ValueError(f"{len(raw)} bytes where {raw_len} are announced")
        return raw

    return decompress


def checksum(previous: int, front: bytes, payload: bytes | memoryview) -> int:
    """The chained checksum of a chunk; front is its header's first 32 bytes."""
    from xxhash import xxh3_64

    h = xxh3_64(U64.pack(previous))
    h.update(front)
    h.update(payload)
    return int(h.intdigest())
