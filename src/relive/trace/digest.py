"""The slow twin of ``digest64`` in the C core (src/core/digest.c).

It defines the digest in a form that is easy to read, reads recordings where the
C core is not at hand, and lets the tests hold the C function to it.
"""

from __future__ import annotations

from typing import Final

__all__ = ["DIGEST_PIECE", "digest64", "digest_long"]

_MASK: Final = (1 << 64) - 1
# The leading 64 bits of the fractional parts of ln 2 .. ln 29 (primes), made odd.
_LANE_START: Final = (
    0xB17217F7D1CF79AB,
    0x193EA7AAD030A977,
    0x9C041F7ED8D336AF,
    0xF2272AE325A57547,
)
_LANE_KEY: Final = (
    0x65DC76EFE6E976F7,
    0x90A08566318A1FD1,
    0xD54D783F4FEF39DF,
    0xF1C6C0C096658E41,
)
_END_KEY: Final = (0x22AFBFBA367E0123, 0x5E071979BFC3D7AD)

DIGEST_PIECE: Final = 1 << 20
"""Bytes that :func:`digest_long` digests at a time."""


def _rotl(value: int, count: int) -> int:
    return ((value << count) | (value >> (64 - count))) & _MASK if count else value


def _step(state: int, word0: int, word1: int, key: int) -> int:
    a, b = state ^ word0, key ^ word1
    product = a * b
    return ((product & _MASK ^ product >> 64) + _rotl(a, 29) + b) & _MASK


def digest64(data: bytes, seed: int = 0) -> int:
    """Digest ``data`` to an unsigned 64-bit number.

    Args:
        data: The bytes; every bit, their order and their number matter.
        seed: An unsigned 64-bit number; different seeds give unrelated digests.

    Raises:
        ValueError: ``seed`` is not an unsigned 64-bit number.
    """
    if not 0 <= seed <= _MASK:
        raise ValueError(f"seed {seed} is not an unsigned 64-bit number")
    lanes = [_rotl(seed, 17 * i) ^ start for i, start in enumerate(_LANE_START)]
    for at in range(0, len(data), 16):
        lane = at // 16 % 4
        piece = data[at : at + 16].ljust(16, b"\0")
        word0, word1 = int.from_bytes(piece[:8], "little"), int.from_bytes(piece[8:], "little")
        lanes[lane] = _step(lanes[lane], word0, word1, _LANE_KEY[lane])
    h = _step(seed ^ (len(data) * _LANE_KEY[0] & _MASK), lanes[0], lanes[1], _END_KEY[0])
    h = _step(h, lanes[2], lanes[3], _END_KEY[1])
    h ^= h >> 32
    h = h * _LANE_START[0] & _MASK
    h ^= h >> 29
    h = h * _LANE_KEY[2] & _MASK
    return h ^ h >> 32


def digest_long(data: bytes) -> int:
    """Digest a block as the C core does: a MiB at a time, each digest seeding the next.

    For up to ``DIGEST_PIECE`` bytes it equals ``digest64(data, 0)``.
    """
    h = digest64(data[:DIGEST_PIECE], 0)
    for at in range(DIGEST_PIECE, len(data), DIGEST_PIECE):
        h = digest64(data[at : at + DIGEST_PIECE], h)
    return h
