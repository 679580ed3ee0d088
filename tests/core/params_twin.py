"""A slow twin of src/core/params_*.c over a model of memory, for the tests.

It follows the words of params.h and of the manual pages, one byte string at a
time, and shares no code with the C side except the digest.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

PAGE = 4096
MAX_BLOCK = 0x7FFFF000
MAX_IOV = 1024
MASK = (1 << 64) - 1
PIECE = 1 << 20

Digest = Callable[[bytes, int], int]


class Kind(enum.IntEnum):
    SCALAR, STR, STRV, IN, OUT, INOUT, IOV_IN, IOV_OUT, MSG_IN, MSG_OUT, MMSG_IN, MMSG_OUT = range(
        12
    )


class Rule(enum.IntEnum):
    FIXED, ARG, RET, PTR32, PTR64, FDSET, BITS_ARG, RET_MIN, IN_U32 = range(9)


EVEN_ON_ERROR, ONLY_ON_EINTR, RET_NONZERO, FUTEX_WORD, ON_ENOSPC = 1, 2, 4, 8, 16


@dataclass(frozen=True)
class Arg:
    kind: Kind = Kind.SCALAR
    rule: Rule = Rule.FIXED
    size_arg: int = 0
    flags: int = 0
    elem: int = 0


class Fault(Exception):
    """Memory that is not there."""


class Memory:
    """Pages at addresses; everything else is unmapped."""

    def __init__(self, pages: dict[int, bytes]) -> None:
        self.pages = {number: bytearray(data) for number, data in pages.items()}

    def some(self, addr: int, size: int) -> bytes:
        """As much as can be read from the start."""
        out = b""
        while size > len(out) and addr < 1 << 63:
            page = self.pages.get(addr // PAGE)
            if page is None:
                break
            piece = bytes(page[addr % PAGE :][: size - len(out)])
            out += piece
            addr += len(piece)
        return out

    def read(self, addr: int, size: int) -> bytes:
        data = self.some(addr, size)
        if len(data) < size:
            raise Fault(addr)
        return data

    def number(self, addr: int, size: int) -> int:
        return int.from_bytes(self.read(addr, size), "little")

    def write(self, addr: int, data: bytes) -> None:
        """All of it, or up to the first unmapped page and Fault."""
        for at in range(len(data)):
            page = self.pages.get((addr + at) // PAGE)
            if page is None:
                raise Fault(addr)
            page[(addr + at) % PAGE] = data[at]


@dataclass
class Message:
    name: int = 0
    namelen: int = 0
    iov: int = 0
    iovlen: int = 0
    control: int = 0
    controllen: int = 0
    flags: int = 0

    LAYOUT = struct.Struct("<QI4xQQQQI4x")

    @classmethod
    def parse(cls, data: bytes) -> Message:
        return cls(*cls.LAYOUT.unpack(data))

    def pack(self, old: bytes) -> bytes:
        """The struct again, padding as in `old`."""
        new = self.LAYOUT.pack(
            self.name,
            self.namelen,
            self.iov,
            self.iovlen,
            self.control,
            self.controllen,
            self.flags,
        )
        return new[:12] + old[12:16] + new[16:52] + old[52:]


def vlen(count: int) -> int:
    return min(count & 0xFFFFFFFF, MAX_IOV)


@dataclass
class Entry:
    args: list[int]
    before: list[int]
    iovs: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    messages: dict[int, list[tuple[Message, list[tuple[int, int]]]]] = field(default_factory=dict)


class Twin:
    """What a call with these arguments takes and gives."""

    def __init__(self, desc: Sequence[Arg], memory: Memory, digest: Digest) -> None:
        self.desc, self.memory, self.digest = desc, memory, digest

    # ------------------------------------------------------------ sizes

    def before(self, i: int, args: Sequence[int]) -> int:
        arg = self.desc[i]
        where = {
            Rule.PTR32: (args[arg.size_arg], 4),
            Rule.PTR64: (args[arg.size_arg], 8),
            Rule.IN_U32: (args[i], 4),
        }.get(arg.rule)
        if where is None or where[0] == 0:
            return 0
        try:
            return self.memory.number(*where)
        except Fault:
            return 0

    def capacity(self, i: int, args: Sequence[int], before: int) -> int:
        arg = self.desc[i]
        n = args[arg.size_arg]
        signed = (n & 0xFFFFFFFF) - (1 << 32) * (n >> 31 & 1)
        size = {
            Rule.FIXED: arg.elem,
            Rule.ARG: arg.elem * n,
            Rule.RET: arg.elem * n,
            Rule.RET_MIN: arg.elem * n,
            Rule.PTR32: before,
            Rule.PTR64: before,
            Rule.FDSET: max(0, (signed + 63) // 64 * 8),
            Rule.BITS_ARG: (n + 7) // 8,
            Rule.IN_U32: min(max(before, 4), arg.elem),
        }[arg.rule]
        # as many whole elements as fit, except where the size is in bytes
        return min(size, MAX_BLOCK)

    # ------------------------------------------------------------ inputs

    def item(self, i: int, what: int, data: bytes, keep: int) -> bytes:
        kept = data[:keep]
        out = struct.pack("<BBHI", i, what, len(kept), len(data))
        if len(data) > keep:
            h = 0
            for at in range(0, len(data), PIECE):
                h = self.digest(data[at : at + PIECE], h)
            out += struct.pack("<Q", h)
        return out + kept

    def block(self, i: int, addr: int, size: int, keep: int = 64) -> bytes:
        if addr == 0:
            return b""
        data = self.memory.some(addr, size)
        return self.item(i, 2 if len(data) < size else 0, data, keep)

    def string(self, i: int, addr: int, limit: int) -> tuple[bytes, int]:
        if addr == 0:
            return b"", 0
        data = self.memory.some(addr, limit)
        text, nul, _ = data.partition(b"\0")
        what = 1 if nul or len(data) == limit else 2
        return self.item(i, what, text, 4096), len(text)

    def strings(self, i: int, addr: int) -> bytes:
        if addr == 0:
            return b""
        out, total = b"", 0
        while total <= 6 << 20:
            try:
                pointer = self.memory.number(addr, 8)
            except Fault:
                return out + self.item(i, 2, b"", 0)
            if pointer == 0:
                break
            item, length = self.string(i, pointer, 131072)
            out += item
            total += length + 9
            addr += 8
        return out

    def iov(self, addr: int, count: int) -> list[tuple[int, int]]:
        data = self.memory.some(addr, min(count, MAX_IOV) * 16) if addr else b""
        return list(struct.iter_unpack("<QQ", data[: len(data) // 16 * 16]))

    def iov_in(self, i: int, addr: int, count: int, sent: bool) -> bytes:
        out, left = self.block(i, addr, min(count, MAX_IOV) * 16), MAX_BLOCK
        if sent:
            for base, size in self.iov(addr, count):
                out += self.block(i, base, min(size, left))
                left -= min(size, left)
        return out

    def message_in(self, i: int, data: bytes, sent: bool) -> bytes:
        h, out = Message.parse(data), b""
        if sent and h.namelen < 1 << 31:
            out += self.block(i, h.name, min(h.namelen, 128))
        out += self.iov_in(i, h.iov, h.iovlen, sent)
        if sent:
            out += self.block(i, h.control, min(h.controllen, MAX_BLOCK))
        return out

    def inputs(self, args: Sequence[int]) -> bytes:
        out = b""
        for i, arg in enumerate(self.desc):
            addr, kind = args[i], arg.kind
            sent = kind in (Kind.IOV_IN, Kind.MSG_IN, Kind.MMSG_IN)
            if kind == Kind.STR:
                out += self.string(i, addr, 4096)[0]
            elif kind == Kind.STRV:
                out += self.strings(i, addr)
            elif kind in (Kind.IN, Kind.INOUT):
                keep = 256 if kind == Kind.IN and arg.rule == Rule.FIXED else 64
                out += self.block(i, addr, self.capacity(i, args, self.before(i, args)), keep)
            elif kind in (Kind.IOV_IN, Kind.IOV_OUT):
                out += self.iov_in(i, addr, args[arg.size_arg], sent)
            elif kind in (Kind.MSG_IN, Kind.MSG_OUT):
                out += self.block(i, addr, 56)
                if addr and len(data := self.memory.some(addr, 56)) == 56:
                    out += self.message_in(i, data, sent)
            elif kind in (Kind.MMSG_IN, Kind.MMSG_OUT):
                n = vlen(args[arg.size_arg])
                out += self.block(i, addr, n * 64)
                for k in range(n if addr else 0):
                    if len(data := self.memory.some(addr + 64 * k, 64)) < 64:
                        break
                    out += self.message_in(i, data[:56], sent)
        return out

    # ------------------------------------------------------------ outputs

    def take(self, args: Sequence[int]) -> Entry:
        entry = Entry(list(args), [0] * 6)
        for i, arg in enumerate(self.desc):
            if arg.kind in (Kind.OUT, Kind.INOUT):
                entry.before[i] = self.before(i, args)
            elif arg.kind == Kind.IOV_OUT:
                entry.iovs[i] = self.iov(args[i], args[arg.size_arg])
            elif arg.kind in (Kind.MSG_OUT, Kind.MMSG_OUT):
                many = arg.kind == Kind.MMSG_OUT
                n = (vlen(args[arg.size_arg]) if many else 1) if args[i] else 0
                entry.messages[i] = []
                for k in range(n):
                    data = self.memory.some(args[i] + 64 * k, 56)
                    h = Message.parse(data) if len(data) == 56 else Message()
                    entry.messages[i].append((h, self.iov(h.iov, h.iovlen)))
        return entry

    def piece(self, addr: int, size: int) -> Iterator[tuple[int, bytes]]:
        data = self.memory.some(addr, size) if addr else b""
        if data:
            yield addr, data

    def iov_out(self, iov: list[tuple[int, int]], size: int) -> Iterator[tuple[int, bytes]]:
        size = min(size, MAX_BLOCK)
        for base, room in iov:
            yield from self.piece(base, min(room, size))
            size -= min(room, size)

    def message_out(
        self, addr: int, h: Message, iov: list[tuple[int, int]], size: int
    ) -> Iterator[tuple[int, bytes]]:
        data = self.memory.some(addr, 56)
        if len(data) < 56:
            return
        after = Message.parse(data)
        yield from self.iov_out(iov, size)
        yield from self.piece(h.control, min(h.controllen, after.controllen, MAX_BLOCK))
        if h.name:
            yield from self.piece(h.name, min(h.namelen, after.namelen, 128))
            yield from self.piece(addr + 8, 4)
        yield from self.piece(addr + 40, 12)

    def wrote(self, arg: Arg, result: int) -> bool:
        if arg.flags & (EVEN_ON_ERROR | FUTEX_WORD):
            return True
        if arg.flags & ONLY_ON_EINTR:
            return result in (-4, -512, -513, -514, -516)
        if -4095 <= result < 0:
            return bool(arg.flags & ON_ENOSPC) and result in (-28, -7, -75, -34)
        return result > 0 or not arg.flags & RET_NONZERO

    def outputs(self, entry: Entry, result: int) -> Iterator[tuple[int, bytes]]:
        """The pieces of memory written, in order."""
        count = 0 if -4095 <= result < 0 else result & MASK
        for i, arg in enumerate(self.desc):
            addr = entry.args[i]
            if arg.kind in (Kind.OUT, Kind.INOUT):
                if not addr or not self.wrote(arg, result):
                    continue
                size = self.capacity(i, entry.args, entry.before[i])
                if arg.rule == Rule.RET:
                    size = min(size, arg.elem * count)
                elif arg.rule == Rule.RET_MIN:
                    size = min(size, count)
                elif arg.rule in (Rule.PTR32, Rule.PTR64):
                    size = min(size, self.before(i, entry.args))
                yield from self.piece(addr, size)
            elif arg.kind == Kind.IOV_OUT:
                yield from self.iov_out(entry.iovs[i], count)
            elif arg.kind == Kind.MSG_OUT and addr and not -4095 <= result < 0:
                yield from self.message_out(addr, *entry.messages[i][0], count)
            elif arg.kind == Kind.MMSG_OUT and result > 0:
                for k, (h, iov) in enumerate(entry.messages[i][:result]):
                    at = addr + 64 * k
                    if len(data := self.memory.some(at + 56, 4)) == 4:
                        yield from self.message_out(at, h, iov, int.from_bytes(data, "little"))
                        yield from self.piece(at + 56, 4)
            elif arg.kind == Kind.MMSG_IN and addr and result > 0:
                for k in range(min(vlen(entry.args[arg.size_arg]), result)):
                    yield from self.piece(addr + 64 * k + 56, 4)


def blob(pieces: Iterator[tuple[int, bytes]]) -> bytes:
    """An output blob of these pieces."""
    return b"".join(struct.pack("<QI", addr, len(data)) + data for addr, data in pieces)


@dataclass
class Redirect:
    """What params_redirect_make gives; `rc` as an errno name or ""."""

    rc: str
    need: int
    active: bool
    args: list[int]
    spans: list[tuple[int, int, int]]
    merged: dict[int, bytes]


class _Unredirected(Exception):
    pass


class Redirector:
    """Lays a call out in scratch memory, on the model."""

    def __init__(self, twin: Twin, scratch: int, size: int) -> None:
        self.twin, self.scratch, self.size = twin, scratch, size
        self.used = 0
        self.spans: list[tuple[int, int, int]] = []
        self.writes: list[tuple[int, bytes]] = []
        self.merged: dict[int, bytes] = {}

    def place(self, real: int, size: int) -> int:
        self.used += -(self.scratch + self.used) % 16
        at = self.scratch + self.used
        self.used += size
        if real and size:
            self.spans.append((real, at, size))
        return at

    def copy(self, real: int, size: int) -> int:
        at = self.place(real, size)
        if self.used <= self.size:
            self.writes.append((at, self.twin.memory.read(real, size)))
        return at

    def out(self, real: int, size: int) -> int:
        at = self.place(real, size)
        if size:
            self.twin.memory.read(real, 1)
            if real // PAGE != (real + size - 1) // PAGE:
                self.twin.memory.read((real + size - 1) & MASK, 1)
        return at

    def iov(self, addr: int, count: int) -> int:
        if count > MAX_IOV:
            raise _Unredirected
        if count and not addr:
            raise _Unredirected
        self.twin.memory.read(addr, count * 16)
        at, new, left = self.place(0, count * 16), b"", MAX_BLOCK
        for base, size in self.twin.iov(addr, count):
            if size >= 1 << 63:
                raise _Unredirected
            size = min(size, left)
            left -= size
            new += struct.pack("<QQ", self.out(base, size), size)
        self.writes.append((at, new))
        return at

    def message(self, at: int, data: bytes) -> None:
        h = Message.parse(data)
        if h.namelen >= 1 << 31:
            raise _Unredirected
        if h.name:
            h.name = self.out(h.name, min(h.namelen, 128))
        h.iov = self.iov(h.iov, h.iovlen)
        if h.control:
            h.controllen = min(h.controllen, MAX_BLOCK)
            h.control = self.copy(h.control, h.controllen)
        self.writes.append((at, h.pack(data)))

    def argument(self, i: int, args: Sequence[int]) -> int:
        twin, arg, addr = self.twin, self.twin.desc[i], args[i]
        if addr == 0 or arg.flags & FUTEX_WORD:
            return addr
        count = args[arg.size_arg]
        if arg.kind in (Kind.OUT, Kind.INOUT):
            size = twin.capacity(i, args, twin.before(i, args))
            if size == 0:
                return addr
            if arg.kind == Kind.OUT and arg.rule in (
                Rule.RET,
                Rule.RET_MIN,
                Rule.PTR32,
                Rule.PTR64,
            ):
                return self.out(addr, size)
            at = self.copy(addr, size)
            if arg.kind == Kind.INOUT and arg.rule == Rule.ARG:
                self.merged[at] = twin.memory.some(addr, size)
            return at
        if arg.kind == Kind.IOV_OUT and count:
            return self.iov(addr, count)
        if arg.kind == Kind.MSG_OUT:
            data = twin.memory.read(addr, 56)
            at = self.place(addr, 56)
            self.message(at, data)
            return at
        if arg.kind in (Kind.MMSG_OUT, Kind.MMSG_IN) and vlen(count):
            at = self.copy(addr, 64 * vlen(count))
            if arg.kind == Kind.MMSG_OUT:
                for k in range(vlen(count)):
                    self.message(at + 64 * k, twin.memory.read(addr + 64 * k, 56))
            return at
        return addr

    def make(self, args: Sequence[int]) -> Redirect:
        try:
            new = [self.argument(i, args) for i in range(len(self.twin.desc))]
        except (Fault, _Unredirected):
            return Redirect("EFAULT", 0, False, list(args), [], {})
        if self.used > self.size:
            return Redirect("ENOSPC", self.used, False, list(args), [], {})
        for at, data in self.writes:
            self.twin.memory.write(at, data)
        new += args[len(new) :]
        return Redirect("", 0, bool(self.spans), new, self.spans, self.merged)


def finish(twin: Twin, redirect: Redirect, entry: Entry, result: int) -> tuple[bytes, bool]:
    """Moves outputs to where they belong; the output blob, and whether memory was missing."""
    out, lost = b"", False
    # all that was written to scratch is gathered first: the program's buffers may overlap
    for addr, data in list(twin.outputs(entry, result)):
        real = addr
        for span_real, span_scratch, size in redirect.spans:
            if span_scratch <= addr < span_scratch + size:
                real = span_real + addr - span_scratch
        if real != addr:
            before = redirect.merged.get(addr)
            if before is not None:
                now = twin.memory.some(real, len(data))
                redirect.merged[addr] = data + before[len(data) :]
                data = (
                    bytes(
                        new if new != old else here
                        for new, old, here in zip(data, before, now, strict=False)
                    )
                    + data[len(now) :]
                )
            try:
                twin.memory.write(real, data)
            except Fault:
                lost = True
                data = twin.memory.some(real, len(data))
        if data:
            out += struct.pack("<QI", real, len(data)) + data
    return out, lost
