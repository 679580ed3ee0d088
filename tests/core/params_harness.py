"""Drives src/core/params_*.c through ctypes on the memory of a child process."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .clib import build_directory, compile_shared, run_compiler
from .params_twin import MASK, PAGE, Arg, Kind, Memory, Rule

SOURCES = [
    "mem.c",
    "digest.c",
    "params_common.c",
    "params_in.c",
    "params_out.c",
    "params_redirect.c",
    "params_echo.c",
]

# Fixed addresses in the child; what lies between is not mapped.
ARENA = 0x10000000
ARENA_PAGES = [0, 1, 2, 3, 4, 6, 7, 8, 11]
SCRATCH = 0x20000000
SCRATCH_SIZE = 8 * PAGE
LARGE = 0x123456789000  # not to be met by chance
LARGE_SIZE = 3 << 20

U64_6 = ctypes.c_uint64 * 6


class CArg(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_uint8),
        ("rule", ctypes.c_uint8),
        ("size_arg", ctypes.c_uint8),
        ("flags", ctypes.c_uint8),
        ("elem", ctypes.c_uint32),
    )


class CDesc(ctypes.Structure):
    _fields_ = (
        ("nr", ctypes.c_uint16),
        ("flags", ctypes.c_uint16),
        ("refuse_errno", ctypes.c_uint16),
        ("nargs", ctypes.c_uint8),
        ("pad", ctypes.c_uint8),
        ("arg", CArg * 6),
    )


class CMem(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int),)


class CBuf(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("len", ctypes.c_size_t), ("cap", ctypes.c_size_t))


class CEntry(ctypes.Structure):
    _fields_ = (("args", U64_6), ("before", U64_6), ("saved", CBuf))


class CEcho(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("skip", ctypes.c_uint64), ("seen", ctypes.c_uint64))


class CRedirect(ctypes.Structure):
    _fields_ = (("active", ctypes.c_int), ("args", U64_6), ("entry", CEntry), ("map", CBuf))


def describe(desc: Sequence[Arg]) -> CDesc:
    """The C description of a call with these arguments."""
    c = CDesc(nargs=len(desc))
    for i, arg in enumerate(desc):
        c.arg[i] = CArg(arg.kind, arg.rule, arg.size_arg, arg.flags, arg.elem)
    return c


def content(buf: CBuf) -> bytes:
    """The bytes of a ``struct buf``."""
    return ctypes.string_at(buf.data, buf.len) if buf.len else b""


class Core:
    """The functions of params.h, with Python types."""

    def __init__(self) -> None:
        self.lib = compile_shared("params", SOURCES)
        self.lib.digest64.restype = ctypes.c_uint64
        self.lib.digest64.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]

    def digest(self, data: bytes, seed: int) -> int:
        return int(self.lib.digest64(data, len(data), seed))

    def inputs(self, desc: Sequence[Arg], args: Sequence[int], mem: CMem) -> bytes:
        buf = CBuf()
        c, a = describe(desc), U64_6(*args)
        assert self.lib.params_in(ctypes.byref(c), a, ctypes.byref(mem), ctypes.byref(buf)) == 0
        out = content(buf)
        self.lib.buf_free(ctypes.byref(buf))
        return out

    def take(self, desc: Sequence[Arg], args: Sequence[int], mem: CMem) -> CEntry:
        entry = CEntry()
        c, a = describe(desc), U64_6(*args)
        take = self.lib.params_entry_take
        assert take(ctypes.byref(c), a, ctypes.byref(mem), ctypes.byref(entry)) == 0
        return entry

    def outputs(self, desc: Sequence[Arg], entry: CEntry, result: int, mem: CMem) -> bytes:
        buf, c = CBuf(), describe(desc)
        rc = self.lib.params_out(
            ctypes.byref(c),
            ctypes.byref(entry),
            ctypes.c_int64(result),
            ctypes.byref(mem),
            ctypes.byref(buf),
        )
        assert rc == 0
        out = content(buf)
        self.lib.buf_free(ctypes.byref(buf))
        return out

    def apply(self, blob: bytes, mem: CMem) -> tuple[int, int]:
        """The return value and the address of the fault."""
        addr = ctypes.c_uint64()
        rc = self.lib.params_apply(
            blob, ctypes.c_size_t(len(blob)), ctypes.byref(mem), ctypes.byref(addr)
        )
        return rc, addr.value

    def redirect(
        self, desc: Sequence[Arg], args: Sequence[int], mem: CMem, size: int, into: CRedirect
    ) -> tuple[str, int]:
        """The errno's name, "" for success, and the size needed."""
        need, c, a = ctypes.c_uint64(), describe(desc), U64_6(*args)
        rc = self.lib.params_redirect_make(
            ctypes.byref(c),
            a,
            ctypes.byref(mem),
            ctypes.c_uint64(SCRATCH),
            ctypes.c_uint64(size),
            ctypes.byref(need),
            ctypes.byref(into),
        )
        return errno.errorcode[-rc] if rc else "", need.value

    def finish(
        self, desc: Sequence[Arg], redirect: CRedirect, result: int, mem: CMem
    ) -> tuple[bytes, bool]:
        """The output blob, and whether memory was missing."""
        buf, c = CBuf(), describe(desc)
        rc = self.lib.params_redirect_finish(
            ctypes.byref(c),
            ctypes.byref(redirect),
            ctypes.c_int64(result),
            ctypes.byref(mem),
            ctypes.byref(buf),
        )
        assert rc in (0, -errno.EFAULT)
        out = content(buf)
        self.lib.buf_free(ctypes.byref(buf))
        return out, rc != 0

    def echo(
        self,
        desc: Sequence[Arg],
        args: Sequence[int],
        result: int,
        mem: CMem,
        fd: int,
        skip: int = 0,
    ) -> int:
        c, a, to = describe(desc), U64_6(*args), CEcho(fd, skip, 0)
        rc = self.lib.params_echo(
            ctypes.byref(c), a, ctypes.c_int64(result), ctypes.byref(mem), ctypes.byref(to)
        )
        assert rc or to.skip == max(skip - to.seen, 0)
        return int(rc)


@dataclass
class Child:
    """The child process and its memory."""

    mem: CMem
    fd: int

    def put(self, memory: Memory) -> None:
        """Bring the child's memory into line with the model."""
        for number, page in memory.pages.items():
            assert os.pwrite(self.fd, bytes(page), number * PAGE) == PAGE

    def same(self, memory: Memory) -> bool:
        """Whether the child's memory is the model's."""
        return all(
            os.pread(self.fd, PAGE, number * PAGE) == page for number, page in memory.pages.items()
        )


@contextmanager
def child_process() -> Iterator[Child]:
    """A child with the fixed mappings above."""
    program = build_directory() / "params_child"
    run_compiler(["-o", str(program), str(Path(__file__).with_name("params_child.c"))])
    maps = [(ARENA + n * PAGE, PAGE) for n in ARENA_PAGES]
    maps += [(SCRATCH, SCRATCH_SIZE), (LARGE, LARGE_SIZE)]
    command = [str(program), *(hex(n) for pair in maps for n in pair)]
    pipe = subprocess.PIPE  # an empty environment: nothing preloaded may map things in there
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env={}) as process:
        assert process.stdout is not None
        assert process.stdout.read(2) == b"ok"
        fd = os.open(f"/proc/{process.pid}/mem", os.O_RDWR)
        try:
            yield Child(CMem(fd), fd)
        finally:
            os.close(fd)
            process.kill()


HOSTILE_ADDRESSES = [
    1,
    0xFFF,
    ARENA - 8,
    ARENA + 5 * PAGE + 100,
    0xFFFF888000000000,
    (1 << 63) - 16,
    1 << 63,
    MASK - 15,
    MASK,
]
HOSTILE_SIZES = [1 << 16, 1 << 31, 0x7FFFF000, 0x7FFFF001, 1 << 32, 1 << 63, MASK - 1, MASK]


@dataclass
class Scene:
    """A random call: its description, its arguments and the memory it is made in."""

    rng: random.Random
    tame: bool = False
    """Mostly addresses that are there and sizes that fit."""
    desc: list[Arg] = field(default_factory=list)
    args: list[int] = field(default_factory=list)
    memory: Memory = field(default_factory=lambda: Memory({}))

    def __post_init__(self) -> None:
        rng = self.rng
        pages = {}
        for number in ARENA_PAGES:
            data = rng.randbytes(PAGE)
            if rng.random() < 0.5:  # no NUL for a whole page: long strings
                data = data.replace(b"\0", b"\1")
            pages[ARENA // PAGE + number] = data
        for number in range(SCRATCH_SIZE // PAGE):
            pages[SCRATCH // PAGE + number] = rng.randbytes(PAGE)
        self.memory = Memory(pages)
        n = rng.randint(1, 6)
        kinds = [rng.choice(list(Kind)) for _ in range(n)]
        scalars = [i for i, kind in enumerate(kinds) if kind == Kind.SCALAR]
        for kind in kinds:
            self.desc.append(
                Arg(
                    kind,
                    rng.choice(list(Rule)),
                    rng.choice(scalars) if scalars and rng.random() < 0.9 else rng.randrange(n),
                    rng.choice([0, 0, 0, 1, 2, 4, 8, 16, 20]),
                    rng.choice([0, 1, 1, 4, 8, 12, 128, 300]),
                )
            )
        self.args = [self.size() if k == Kind.SCALAR else self.address() for k in kinds]
        for arg in self.desc:
            if arg.rule in (Rule.PTR32, Rule.PTR64) and arg.kind in (Kind.IN, Kind.OUT, Kind.INOUT):
                self.args[arg.size_arg] = self.address()
        for i, arg in enumerate(self.desc):  # some sense, on top of the noise
            self.furnish(arg, self.args[i])
        self.args += [rng.getrandbits(64) for _ in range(6 - n)]

    def address(self) -> int:
        rng = self.rng
        chance = rng.random()
        if self.tame and chance < 0.97:
            return ARENA + rng.randrange(4 * PAGE)
        if chance < 0.05:
            return 0
        if chance < 0.1:
            return rng.choice(HOSTILE_ADDRESSES)
        page = rng.choice(ARENA_PAGES)
        offset = rng.randrange(PAGE)
        if chance < 0.35:  # near the end of a page
            offset = PAGE - rng.randint(1, 80)
        elif chance < 0.7:
            offset &= ~15
        return ARENA + page * PAGE + offset

    def size(self) -> int:
        rng = self.rng
        chance = rng.random()
        if self.tame and chance < 0.98:
            return rng.randrange(rng.choice([2, 10, 10, 64, 200, 2000]))
        if chance < 0.1:
            return rng.choice(HOSTILE_SIZES)
        if chance < 0.7:
            return rng.randrange(10)
        return rng.randrange(300) if chance < 0.9 else rng.randrange(6000)

    def poke(self, addr: int, data: bytes) -> None:
        for at in range(len(data)):
            page = self.memory.pages.get((addr + at) // PAGE)
            if page is not None:
                page[(addr + at) % PAGE] = data[at]

    def poke_iov(self, addr: int) -> None:
        n = self.rng.choice([0, 1, 2, 3, 8])
        data = b"".join(struct.pack("<QQ", self.address(), self.size()) for _ in range(n))
        self.poke(addr, data)

    def poke_message(self, addr: int) -> None:
        iov = self.address()
        self.poke_iov(iov)
        namelen = self.size() & 0xFFFFFFFF
        head = struct.pack("<QII", self.address(), namelen, self.rng.getrandbits(32))
        tail = struct.pack("<QQQQ", iov, self.rng.randrange(4), self.address(), self.size())
        self.poke(addr, head + tail)

    def furnish(self, arg: Arg, addr: int) -> None:
        """Put what the argument points at into memory."""
        if arg.kind == Kind.STRV:
            count = self.rng.randrange(6)
            words = [self.address() for _ in range(count)] + [0]
            self.poke(addr, struct.pack(f"<{count + 1}Q", *words))
        elif arg.kind in (Kind.IOV_IN, Kind.IOV_OUT):
            self.poke_iov(addr)
        elif arg.kind in (Kind.MSG_IN, Kind.MSG_OUT):
            self.poke_message(addr)
        elif arg.kind in (Kind.MMSG_IN, Kind.MMSG_OUT):
            for k in range(self.rng.choice([1, 2, 3, 9])):
                self.poke_message(addr + 64 * k)
                if self.rng.random() < 0.9:
                    self.poke(addr + 64 * k + 56, struct.pack("<I", self.rng.randrange(300)))
        elif arg.rule in (Rule.PTR32, Rule.PTR64) and self.rng.random() < 0.9:
            self.poke(self.args[arg.size_arg], struct.pack("<Q", self.rng.randrange(200)))
        elif arg.rule == Rule.IN_U32 and self.rng.random() < 0.9:
            self.poke(addr, struct.pack("<I", self.rng.randrange(200)))

    def result(self) -> int:
        """A return value."""
        rng = self.rng
        errors = [-1, -4, -7, -11, -14, -28, -34, -75, -512, -513, -514, -516, -4095]
        pool = [0, 1, 2, 3, rng.randrange(300), rng.randrange(6000), 1 << 31, (1 << 63) - 1]
        return rng.choice([*pool, *pool, *errors])
