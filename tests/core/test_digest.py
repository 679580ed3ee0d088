"""digest64: the C function against its Python twin, and how well it mixes."""

from __future__ import annotations

import ctypes
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relive.trace.digest import digest64

from .clib import compile_shared

U64 = st.integers(0, (1 << 64) - 1)


@pytest.fixture(scope="module")
def c_digest() -> ctypes.CDLL:
    lib = compile_shared("digest", ["digest.c"])
    lib.digest64.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
    lib.digest64.restype = ctypes.c_uint64
    return lib


@given(data=st.binary(max_size=400), seed=U64)
def test_twin(c_digest: ctypes.CDLL, data: bytes, seed: int) -> None:
    assert c_digest.digest64(data, len(data), seed) == digest64(data, seed)


def test_every_length_and_misalignment(c_digest: ctypes.CDLL) -> None:
    data = random.Random(1).randbytes(300)
    for length in range(200):
        buffer = ctypes.create_string_buffer(b"x" + data[:length])
        at = ctypes.cast(ctypes.addressof(buffer) + 1, ctypes.c_char_p)
        assert c_digest.digest64(at, length, 7) == digest64(data[:length], 7)


def test_known_values() -> None:
    """The digest is part of the recording format: it may not change unnoticed."""
    assert digest64(b"") == 0xD5747E5266FE27CE
    assert digest64(b"relive") == 0x3E9E3E10591BBBB8
    assert digest64(bytes(range(200)), 42) == 0x76F29AE2CF5B7235


def test_length_matters_in_zeros(c_digest: ctypes.CDLL) -> None:
    seen = {c_digest.digest64(bytes(n), n, seed) for n in range(2000) for seed in (0, 1)}
    assert len(seen) == 4000


@pytest.mark.parametrize("length", [1, 8, 15, 16, 17, 64, 65, 100, 1000])
def test_avalanche(c_digest: ctypes.CDLL, length: int) -> None:
    """Each flipped input bit flips each output bit about half of the time."""
    rng = random.Random(length)
    bits = rng.sample(range(length * 8), min(length * 8, 64))
    rounds = 200
    for bit in bits:
        flips = [0] * 64
        for _ in range(rounds):
            data = bytearray(rng.randbytes(length))
            seed = rng.getrandbits(64)
            before = c_digest.digest64(bytes(data), length, seed)
            data[bit // 8] ^= 1 << bit % 8
            difference = before ^ c_digest.digest64(bytes(data), length, seed)
            for i in range(64):
                flips[i] += difference >> i & 1
        # 200 fair coins: 100 +- 7; 6 sigma leaves no false alarm over 40 000 counts
        assert all(58 < count < 142 for count in flips), (bit, flips)


def test_no_collisions_among_near_inputs(c_digest: ctypes.CDLL) -> None:
    """All inputs with up to two bits set in 48 bytes, and their shifts, differ."""
    size, seen = 48, set()
    for i in range(size * 8):
        for j in range(i, size * 8):
            value = (1 << i | 1 << j).to_bytes(size, "little")
            seen.add(c_digest.digest64(value, size, 0))
    assert len(seen) == size * 8 * (size * 8 + 1) // 2
