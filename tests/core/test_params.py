"""What calls read and write, in C and in the twin: random calls, random memory."""

from __future__ import annotations

import ctypes
import os
import random
import struct
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .params_harness import (
    ARENA,
    HOSTILE_SIZES,
    LARGE,
    LARGE_SIZE,
    Child,
    Core,
    Scene,
    child_process,
)
from .params_twin import PAGE, PIECE, Arg, Kind, Memory, Rule, Twin, blob

SEEDS = st.integers(0, (1 << 64) - 1)
RELAXED = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def core() -> Core:
    return Core()


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    with child_process() as running:
        yield running


@RELAXED
@given(seed=SEEDS)
def test_inputs(core: Core, child: Child, seed: int) -> None:
    scene = Scene(random.Random(seed))
    child.put(scene.memory)
    expected = Twin(scene.desc, scene.memory, core.digest).inputs(scene.args)
    assert core.inputs(scene.desc, scene.args, child.mem) == expected


@RELAXED
@given(seed=SEEDS)
def test_outputs_and_apply(core: Core, child: Child, seed: int) -> None:
    rng = random.Random(seed)
    scene = Scene(rng, tame=rng.random() < 0.5)
    child.put(scene.memory)
    twin = Twin(scene.desc, scene.memory, core.digest)
    entry, twin_entry = core.take(scene.desc, scene.args, child.mem), twin.take(scene.args)
    assert list(entry.before) == twin_entry.before

    # the "kernel": memory changes anywhere, plausible lengths in places
    for _ in range(rng.randrange(8)):
        scene.poke(scene.address(), rng.randbytes(rng.randrange(200)))
    for i, arg in enumerate(scene.desc):
        if arg.kind in (Kind.MSG_OUT, Kind.MMSG_OUT):
            for k in range(3):
                at = scene.args[i] + 64 * k
                scene.poke(at + 8, struct.pack("<I", rng.randrange(200)))
                scene.poke(at + 40, struct.pack("<QI", rng.randrange(300), rng.getrandbits(32)))
    child.put(scene.memory)
    result = scene.result()
    expected = blob(twin.outputs(twin_entry, result))
    assert core.outputs(scene.desc, entry, result, child.mem) == expected
    core.lib.params_entry_free(ctypes.byref(entry))

    # replay: other memory, then the blob, gives these bytes back
    child.put(Memory({number: bytes(PAGE) for number in scene.memory.pages}))
    assert core.apply(expected, child.mem) == (0, 0)
    at = 0
    while at < len(expected):
        addr, size = struct.unpack_from("<QI", expected, at)
        assert os.pread(child.fd, size, addr) == scene.memory.read(addr, size)
        at += 12 + size


def test_apply_faults(core: Core, child: Child) -> None:
    hole = ARENA + 5 * PAGE
    good = struct.pack("<QI", ARENA, 2) + b"hi"
    assert core.apply(good + struct.pack("<QI", hole, 1) + b"x", child.mem) == (-14, hole)
    assert os.pread(child.fd, 2, ARENA) == b"hi"
    for cut in range(1, len(good)):
        assert core.apply(good[:cut], child.mem) == (-22, 0)


def test_read_one_byte(core: Core, child: Child) -> None:
    desc = [Arg(), Arg(Kind.OUT, Rule.RET, 2, elem=1), Arg()]
    args = [3, ARENA + 100, 1, 0, 0, 0]
    os.pwrite(child.fd, b"Q", ARENA + 100)
    assert core.inputs(desc, args, child.mem) == b""
    entry = core.take(desc, args, child.mem)
    assert core.outputs(desc, entry, 1, child.mem) == struct.pack("<QI", ARENA + 100, 1) + b"Q"
    assert core.outputs(desc, entry, 0, child.mem) == b""
    assert core.outputs(desc, entry, -11, child.mem) == b""


@pytest.mark.parametrize(
    "size",
    [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 77, LARGE_SIZE, LARGE_SIZE + 1, *HOSTILE_SIZES],
)
def test_long_block(core: Core, child: Child, size: int) -> None:
    data = random.Random(size).randbytes(LARGE_SIZE)
    os.pwrite(child.fd, data, LARGE)
    desc = [Arg(), Arg(Kind.IN, Rule.ARG, 2, elem=1), Arg()]
    args = [1, LARGE, size, 0, 0, 0]
    got = core.inputs(desc, args, child.mem)
    digest = 0
    there = data[: min(size, LARGE_SIZE)]
    for at in range(0, len(there), PIECE):
        digest = core.digest(there[at : at + PIECE], digest)
    what = 2 if size > LARGE_SIZE else 0
    assert got == struct.pack("<BBHIQ", 1, what, 64, len(there), digest) + there[:64]


def test_long_argument_string(core: Core, child: Child) -> None:
    """execve's strings are described whole, up to the kernel's 128 KiB for one."""
    for length in (4095, 4096, 4097, 100_000, 131_071, 131_072, 200_000):
        os.pwrite(child.fd, b"a" * length + b"\0", LARGE)
        os.pwrite(child.fd, struct.pack("<QQ", LARGE, 0), ARENA)
        got = core.inputs([Arg(Kind.STRV)], [ARENA, 0, 0, 0, 0, 0], child.mem)
        size = min(length, 131_072)
        kept = min(size, 4096)
        expected = struct.pack("<BBHI", 0, 1, kept, size)
        if size > kept:
            expected += struct.pack("<Q", core.digest(b"a" * size, 0))
        assert got == expected + b"a" * kept


def test_endless_vector_ends(core: Core, child: Child) -> None:
    """A vector that never ends stops being described where execve gives up (6 MiB)."""
    os.pwrite(child.fd, b"\0", ARENA)
    os.pwrite(child.fd, struct.pack("<Q", ARENA) * (LARGE_SIZE // 8), LARGE)
    got = core.inputs([Arg(Kind.STRV)], [LARGE, 0, 0, 0, 0, 0], child.mem)
    assert len(got) // 8 <= LARGE_SIZE // 8 + 1
    os.pwrite(child.fd, b"x" * 4000 + b"\0", ARENA)
    got = core.inputs([Arg(Kind.STRV)], [LARGE, 0, 0, 0, 0, 0], child.mem)
    assert len(got) == (4008) * ((6 << 20) // 4009 + 1)


ECHO = {
    "write": [Arg(), Arg(Kind.IN, Rule.ARG, 2, elem=1), Arg()],
    "writev": [Arg(), Arg(Kind.IOV_IN, size_arg=2), Arg()],
    "sendmsg": [Arg(), Arg(Kind.MSG_IN), Arg()],
    "sendmmsg": [Arg(), Arg(Kind.MMSG_IN, size_arg=2), Arg()],
}


def echoed(
    core: Core, child: Child, name: str, args: list[int], result: int, skip: int = 0
) -> tuple[int, bytes]:
    """What params_echo returns and writes; through a pipe that is read all along."""
    back, to = os.pipe()
    chunks: list[bytes] = []

    def drain() -> None:
        while piece := os.read(back, 1 << 16):
            chunks.append(piece)

    thread = threading.Thread(target=drain)
    thread.start()
    os.set_blocking(to, False)  # echo must cope with a full descriptor of the user's
    rc = core.echo(ECHO[name], args + [0] * (6 - len(args)), result, child.mem, to, skip)
    os.close(to)
    thread.join()
    os.close(back)
    return rc, b"".join(chunks)


def test_echo(core: Core, child: Child) -> None:
    data = random.Random(5).randbytes(LARGE_SIZE)
    os.pwrite(child.fd, data, LARGE)
    iov = [(LARGE, 5), (0, 0), (LARGE + 100, 0), (LARGE + 200, 70000), (LARGE + 9, 3)]
    joined = b"".join(data[base - LARGE :][:size] for base, size in iov if size)
    os.pwrite(child.fd, b"".join(struct.pack("<QQ", *pair) for pair in iov), ARENA)
    for k, size in enumerate((5, 900, 70008)):
        head = struct.pack("<QQQQQQQ", 0, 0, ARENA, len(iov), 0, 0, 0)
        os.pwrite(child.fd, head + struct.pack("<Q", size), ARENA + PAGE + 64 * k)

    for result in (1, 70000, LARGE_SIZE):
        assert echoed(core, child, "write", [1, LARGE, LARGE_SIZE], result) == (0, data[:result])
    for result in (1, 5, 6, 70005, 70008):
        assert echoed(core, child, "writev", [1, ARENA, len(iov)], result) == (0, joined[:result])
        assert echoed(core, child, "sendmsg", [1, ARENA + PAGE], result) == (0, joined[:result])
    for skip in (1, 5, 6, 65536, 65537, 70008, 70009):
        args = [1, ARENA, len(iov)]
        assert echoed(core, child, "writev", args, 70008, skip) == (0, joined[skip:])
    sent = [joined[:5], joined[:900], joined]
    for result in (1, 2, 3):
        expected = (0, b"".join(sent[:result]))
        assert echoed(core, child, "sendmmsg", [1, ARENA + PAGE, 3], result) == expected
    for name in ECHO:
        assert echoed(core, child, name, [1, ARENA, 1], 0) == (0, b"")
        assert echoed(core, child, name, [1, ARENA, 1], -11) == (0, b"")
    # a count past the end, memory that is gone, a reader that is gone
    assert echoed(core, child, "write", [1, LARGE, 4], 9) == (0, data[:4])
    assert echoed(core, child, "write", [1, ARENA + 5 * PAGE, 4], 4) == (-14, b"")
    back, to = os.pipe()
    os.close(back)
    assert core.echo(ECHO["write"], [1, LARGE, 4, 0, 0, 0], 4, child.mem, to) == -32
    os.close(to)
