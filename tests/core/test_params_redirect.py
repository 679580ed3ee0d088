"""Calls redirected to scratch memory, in C and in the twin."""

from __future__ import annotations

import ctypes
import os
import random
import struct
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from .params_harness import (
    ARENA,
    SCRATCH,
    SCRATCH_SIZE,
    Child,
    Core,
    CRedirect,
    Scene,
    child_process,
    content,
)
from .params_twin import PAGE, Arg, Kind, Redirector, Rule, Twin, finish

SEEDS = st.integers(0, (1 << 64) - 1)
HOLE = ARENA + 5 * PAGE
EVEN_ON_ERROR = 1


@pytest.fixture(scope="module")
def core() -> Core:
    return Core()


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    with child_process() as running:
        yield running


def spans_of(redirect: CRedirect) -> list[tuple[int, int, int]]:
    return list(struct.iter_unpack("<QQQ", content(redirect.map)))


def scribble(scene: Scene, spans: list[tuple[int, int, int]]) -> None:
    """The "kernel": writes within the places of the spans."""
    rng = scene.rng
    for _, scratch, size in spans:
        if rng.random() < 0.8:
            at = rng.randrange(size)
            scene.poke(scratch + at, rng.randbytes(rng.randint(1, min(size - at, 400))))
        if size % 64 in (0, 56):  # perhaps messages
            for at in range(0, min(size, 640), 64):
                scene.poke(scratch + at + 8, struct.pack("<I", rng.randrange(200)))
                fields = struct.pack("<QI", rng.randrange(300), rng.getrandbits(32))
                scene.poke(scratch + at + 40, fields)
                if size % 64 == 0:
                    scene.poke(scratch + at + 56, struct.pack("<I", rng.randrange(300)))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=SEEDS)
def test_redirect(core: Core, child: Child, seed: int) -> None:
    rng = random.Random(seed)
    scene = Scene(rng, tame=rng.random() < 0.8)
    size = rng.choice([SCRATCH_SIZE, SCRATCH_SIZE, SCRATCH_SIZE, rng.randrange(SCRATCH_SIZE)])
    child.put(scene.memory)
    twin = Twin(scene.desc, scene.memory, core.digest)
    expected = Redirector(twin, SCRATCH, size).make(scene.args)
    redirect = CRedirect()
    rc, need = core.redirect(scene.desc, scene.args, child.mem, size, redirect)
    event(rc or ("active" if redirect.active else "inactive"))
    assert (rc, need) == (expected.rc, expected.need)
    assert list(redirect.args) == expected.args
    assert bool(redirect.active) == expected.active
    if rc:
        # nothing but the given part of scratch may have been touched
        tail = SCRATCH_SIZE - size
        before = scene.memory.read(SCRATCH + size, tail)
        assert os.pread(child.fd, tail, SCRATCH + size) == before
    else:
        assert child.same(scene.memory)
        assert spans_of(redirect) == expected.spans
        entry = twin.take(expected.args)
        for _ in range(rng.choice([1, 1, 2])):  # twice: interrupted, then restarted
            scribble(scene, expected.spans)
            for _ in range(rng.randrange(4)):  # another task
                scene.poke(scene.address(), rng.randbytes(rng.randrange(100)))
            child.put(scene.memory)
            if expected.spans and rng.random() < 0.1:  # a block was unmapped meanwhile
                k = rng.randrange(len(expected.spans))
                expected.spans[k] = (HOLE - rng.randrange(50), *expected.spans[k][1:])
                packed = b"".join(struct.pack("<QQQ", *span) for span in expected.spans)
                ctypes.memmove(redirect.map.data, packed, len(packed))
            result = scene.result()
            wanted = finish(twin, expected, entry, result)
            assert core.finish(scene.desc, redirect, result, child.mem) == wanted
            assert child.same(scene.memory)
    core.lib.params_redirect_free(ctypes.byref(redirect))


def test_read(core: Core, child: Child) -> None:
    desc = [Arg(), Arg(Kind.OUT, Rule.RET, 2, elem=1), Arg()]
    args = [3, ARENA + 8, 64, 0, 0, 0]
    redirect = CRedirect()
    os.pwrite(child.fd, b"." * 80, ARENA)
    assert core.redirect(desc, args, child.mem, PAGE, redirect) == ("", 0)
    assert list(redirect.args[:3]) == [3, SCRATCH, 64]
    os.pwrite(child.fd, b"hello, world", SCRATCH)
    blob = struct.pack("<QI", ARENA + 8, 5) + b"hello"
    assert core.finish(desc, redirect, 5, child.mem) == (blob, False)
    assert os.pread(child.fd, 16, ARENA) == b"........hello..."
    assert core.redirect(desc, args, child.mem, 63, redirect) == ("ENOSPC", 64)
    for bad in (HOLE, HOLE - 8, 1):
        args[1] = bad
        assert core.redirect(desc, args, child.mem, PAGE, redirect) == ("EFAULT", 0)
    args[1:3] = [0, 8]
    assert core.redirect(desc, args, child.mem, PAGE, redirect) == ("", 0)
    assert not redirect.active
    core.lib.params_redirect_free(ctypes.byref(redirect))


def test_poll_keeps_what_another_task_edits(core: Core, child: Child) -> None:
    """A pollfd's events changed while the poll sleeps stay changed; revents arrive."""
    desc = [Arg(Kind.INOUT, Rule.ARG, 1, EVEN_ON_ERROR, elem=8), Arg(), Arg()]
    redirect = CRedirect()
    os.pwrite(child.fd, struct.pack("<ihhihh", 3, 1, 0x55, 4, 1, 0), ARENA)
    args = [ARENA, 2, 0xFFFFFFFF, 0, 0, 0]
    assert core.redirect(desc, args, child.mem, PAGE, redirect) == ("", 0)
    os.pwrite(child.fd, struct.pack("<h", 5), ARENA + 12)  # the other task: events of the second

    os.pwrite(child.fd, struct.pack("<h", 0), SCRATCH + 6)  # interrupted: revents are cleared
    core.finish(desc, redirect, -516, child.mem)
    assert os.pread(child.fd, 16, ARENA) == struct.pack("<ihhihh", 3, 1, 0, 4, 5, 0)

    os.pwrite(child.fd, struct.pack("<h", 0x55), SCRATCH + 6)  # restarted: the first is ready
    now = struct.pack("<ihhihh", 3, 1, 0x55, 4, 5, 0)
    blob = struct.pack("<QI", ARENA, 16) + now
    assert core.finish(desc, redirect, 1, child.mem) == (blob, False)
    assert os.pread(child.fd, 16, ARENA) == now
    core.lib.params_redirect_free(ctypes.byref(redirect))


def test_recvmsg(core: Core, child: Child) -> None:
    desc = [Arg(), Arg(Kind.MSG_OUT), Arg()]
    hdr, name, iov, data, control = (ARENA + n for n in (0, 64, 128, 256, 512))
    os.pwrite(child.fd, bytes(PAGE), ARENA)
    before = struct.pack("<QIIQQQQII", name, 16, 7, iov, 2, control, 64, 9, 8)
    os.pwrite(child.fd, before, hdr)
    os.pwrite(child.fd, struct.pack("<QQQQ", data, 4, data + 16, 100), iov)
    redirect = CRedirect()
    assert core.redirect(desc, [3, hdr, 0, 0, 0, 0], child.mem, PAGE, redirect) == ("", 0)

    # as the kernel does it, through the pointers that it is given
    msg = redirect.args[1]
    names, _, vec, count, ctl, ctl_size = struct.unpack("<QQQQQQ", os.pread(child.fd, 48, msg))
    assert (count, ctl_size) == (2, 64)
    base0, len0, base1, len1 = struct.unpack("<QQQQ", os.pread(child.fd, 32, vec))
    assert (len0, len1) == (4, 100)
    os.pwrite(child.fd, b"abcd", base0)
    os.pwrite(child.fd, b"efg", base1)
    os.pwrite(child.fd, b"N" * 16, names)
    os.pwrite(child.fd, b"C" * 20, ctl)
    os.pwrite(child.fd, struct.pack("<I", 28), msg + 8)  # the name was longer than its room
    os.pwrite(child.fd, struct.pack("<QI", 24, 0x20), msg + 40)
    _, lost = core.finish(desc, redirect, 7, child.mem)
    assert not lost
    assert os.pread(child.fd, 56, hdr) == struct.pack(
        "<QIIQQQQII", name, 28, 7, iov, 2, control, 24, 0x20, 8
    )
    assert os.pread(child.fd, 20, name) == b"N" * 16 + bytes(4)
    assert os.pread(child.fd, 24, data) == b"abcd" + bytes(12) + b"efg" + bytes(5)
    assert os.pread(child.fd, 24, control) == b"C" * 20 + bytes(4)
    core.lib.params_redirect_free(ctypes.byref(redirect))
