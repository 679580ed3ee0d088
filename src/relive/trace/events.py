"""Encoder and decoder of events: the plain twin of what the C core does.

One event (little endian; sections in the order of their flag bits):

    0        4    5     6        8        12        16
    +--------+----+-----+--------+--------+---------+----------
    | size   |kind|flags| nr     | task   | time ms | sections
    +--------+----+-----+--------+--------+---------+----------
    REGS   0x01   u32 mask, then a u64 for each set bit
    RESULT 0x02   i64
    IN     0x04   u32 n, n bytes: items of u8 arg, u8 what, u16 kept, u32 len,
                  u64 digest when len > kept, `kept` bytes
    OUT    0x08   u32 n, n bytes: items of u64 address, u32 len, `len` bytes
    EXTRA  0x10   u32 n, n bytes: a JSON object

Bit i of the REGS mask is register i of struct user_regs_struct; the registers whose bit
is clear are as in the last REGS section of the same task in the same chunk, and 0 where there was
none.
"""

from __future__ import annotations

import json
import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from relive.errors import RecordingError
from relive.trace.kinds import KIND_BITS, Flag, InWhat, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

N_REGS = 27
_NO_REGS = (0,) * N_REGS
_ALL_REGS = (1 << N_REGS) - 1
_U64_MAX = (1 << 64) - 1

EVENT_HEAD = struct.Struct("<IBBHII")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_I64 = struct.Struct("<q")
_IN_HEAD = struct.Struct("<BBHI")
_OUT_HEAD = struct.Struct("<QI")

# Plain ints: IntFlag's operators cost more than all the rest of decoding an event.
_REGS, _RESULT, _IN, _OUT, _EXTRA = (int(f) for f in Flag)


class InItem(NamedTuple):
    """What one argument of a call pointed at when the call began.

    arg: index 0..5. length: bytes there were. data: the first of them (all, when digest is
    None). digest: relive.trace.digest of all of them.
    """

    arg: int
    what: InWhat
    length: int
    data: bytes
    digest: int | None = None


class OutItem(NamedTuple):
    """Bytes that appeared in the task's memory."""

    address: int
    data: bytes


class Event:
    """One event.

    number: its ordinal in the log. kind, flags, nr, task, time_ms: as in the format.
    regs: the 27 registers in the order of struct user_regs_struct, or None.
    result: None when the event has none. in_items, out_items: None when there is no such
    section. extra: a dict of JSON values, or None.
    """

    __slots__ = (
        "extra",
        "flags",
        "in_items",
        "kind",
        "nr",
        "number",
        "out_items",
        "regs",
        "result",
        "task",
        "time_ms",
    )

    def __init__(
        self,
        kind: Kind,
        task: int = 0,
        nr: int = 0,
        *,
        number: int = 0,
        bits: int = 0,
        time_ms: int = 0,
        regs: Sequence[int] | None = None,
        result: int | None = None,
        in_items: Sequence[InItem] | None = None,
        out_items: Sequence[OutItem] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        """bits: the kind-specific flag bits; the others follow from the sections given."""
        self.kind = kind
        self.task = task
        self.nr = nr
        self.number = number
        self.time_ms = time_ms
        self.regs = None if regs is None else tuple(regs)
        self.result = result
        self.in_items = None if in_items is None else tuple(in_items)
        self.out_items = None if out_items is None else tuple(out_items)
        self.extra = extra
        self.flags = (
            bits
            | (0 if regs is None else _REGS)
            | (0 if result is None else _RESULT)
            | (0 if in_items is None else _IN)
            | (0 if out_items is None else _OUT)
            | (0 if extra is None else _EXTRA)
        )

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and self._values() == other._values()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        parts = [f"{self.number}: {self.kind.name} task={self.task} nr={self.nr}"]
        parts += [
            f"{name}={value!r}"
            for name in ("result", "regs", "in_items", "out_items", "extra")
            if (value := getattr(self, name)) is not None
        ]
        return f"<Event {' '.join(parts)} flags={self.flags:#x}>"


class _Bad(Exception):
    """What is wrong with an event; becomes a RecordingError that names the place."""


# -- encoding


class Encoder:
    """Makes chunks of events; keeps what the register deltas refer to."""

    def __init__(self) -> None:
        self.raw = bytearray()
        self.n_events = 0
        self._regs: dict[int, tuple[int, ...]] = {}

    def add(self, event: Event) -> None:
        """Appends an event to the chunk.  ValueError: a field does not fit the format."""
        try:
            self.raw += self._encode(event)
        except struct.error as e:
            raise ValueError(f"a field of {event!r} does not fit ({e})") from None
        self.n_events += 1

    def take(self) -> tuple[bytes, int]:
        """The chunk (raw bytes, number of events); the next one starts."""
        chunk = bytes(self.raw), self.n_events
        self.raw.clear()
        self._regs.clear()
        self.n_events = 0
        return chunk

    def _encode(self, event: Event) -> bytes:
        body = b""
        regs = event.regs
        if regs is not None:
            if len(regs) != N_REGS:
                raise ValueError(f"{len(regs)} registers where there are {N_REGS}")
            before = self._regs.get(event.task, _NO_REGS)
            changed = [i for i in range(N_REGS) if regs[i] != before[i]]
            body += _U32.pack(sum(1 << i for i in changed))
            body += b"".join(_U64.pack(regs[i]) for i in changed)
        if event.result is not None:
            body += _I64.pack(event.result)
        if event.in_items is not None:
            body += _sized(encode_in(event.in_items))
        if event.out_items is not None:
            body += _sized(encode_out(event.out_items))
        if event.extra is not None:
            body += _sized(encode_extra(event.extra))
        head = EVENT_HEAD.pack(
            EVENT_HEAD.size + len(body),
            event.kind,
            event.flags,
            event.nr,
            event.task,
            event.time_ms,
        )
        if regs is not None:  # only now is it certain that the event gets into the chunk
            self._regs[event.task] = tuple(regs)
        return head + body


def encode_events(events: Iterable[Event]) -> bytes:
    """The raw bytes of one chunk.  ValueError as Encoder.add."""
    encoder = Encoder()
    for event in events:
        encoder.add(event)
    return encoder.take()[0]


def encode_in(items: Iterable[InItem]) -> bytes:
    """An input blob.  ValueError: an item contradicts itself."""
    blob = bytearray()
    for item in items:
        kept = len(item.data)
        if item.length < kept or (item.length > kept) != (item.digest is not None):
            raise ValueError(f"{item!r}: a digest goes with data that is cut, and only with it")
        blob += _IN_HEAD.pack(item.arg, item.what, kept, item.length)
        if item.digest is not None:
            blob += _U64.pack(item.digest)
        blob += item.data
    return bytes(blob)


def encode_out(items: Iterable[OutItem]) -> bytes:
    """An output blob."""
    return b"".join(_OUT_HEAD.pack(i.address, len(i.data)) + i.data for i in items)


def encode_extra(extra: dict[str, Any]) -> bytes:
    """JSON in its shortest form, keys sorted, ASCII (so that surrogateescape'd names pass)."""
    return json.dumps(extra, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()


def _sized(blob: bytes) -> bytes:
    return _U32.pack(len(blob)) + blob


# -- decoding


def decode_chunk(
    raw: bytes, first_event: int = 0, *, n_events: int | None = None, chunk: int = 0
) -> Iterator[Event]:
    """The events of a chunk, in order.

    first_event: number of the first. n_events: how many there must be, when known. chunk: its
    number, for messages.  Raises RecordingError (chunk, event and offset named) at the first
    event that is not well-formed.
    """
    at = 0
    number = first_event
    regs: dict[int, tuple[int, ...]] = {}
    while at < len(raw):
        try:
            event, size = _decode(raw, at, number, regs)
        except _Bad as e:
            raise RecordingError(
                f"the recording is damaged in chunk {chunk}, event {number}, offset {at}: {e}"
            ) from None
        yield event
        at += size
        number += 1
    if n_events is not None and number - first_event != n_events:
        raise RecordingError(
            f"the recording is damaged in chunk {chunk}, event {number}, offset {at}:"
            f" {number - first_event} events where {n_events} are announced"
        )


def _decode(
    raw: bytes, start: int, number: int, known: dict[int, tuple[int, ...]]
) -> tuple[Event, int]:
    left = len(raw) - start
    if left < EVENT_HEAD.size:
        raise _Bad(f"{left} bytes left, an event has at least {EVENT_HEAD.size}")
    size, kind_nr, flags, nr, task, time_ms = EVENT_HEAD.unpack_from(raw, start)
    if not EVENT_HEAD.size <= size <= left:
        raise _Bad(f"size {size}, with {left} bytes left in the chunk")
    bits = KIND_BITS.get(kind_nr)
    if bits is None:
        raise _Bad(f"unknown kind {kind_nr}")
    if flags & ~0x1F & ~bits:
        raise _Bad(f"unknown flags {flags:#x} for kind {kind_nr}")
    kind = Kind(kind_nr)
    end = start + size
    at = start + EVENT_HEAD.size
    event = Event(kind, task, nr, number=number, time_ms=time_ms)
    event.flags = flags
    if flags & _REGS:
        event.regs, at = _decode_regs(raw, at, end, known.get(task, _NO_REGS))
        known[task] = event.regs
    if flags & _RESULT:
        if end - at < 8:
            raise _Bad("the result is cut")
        event.result = _I64.unpack_from(raw, at)[0]
        at += 8
    if flags & _IN:
        blob, at = _section(raw, at, end, "input")
        event.in_items = _decode_in(blob)
    if flags & _OUT:
        blob, at = _section(raw, at, end, "output")
        event.out_items = _decode_out(blob)
    if flags & _EXTRA:
        blob, at = _section(raw, at, end, "extra")
        event.extra = _decode_extra(blob)
    if at != end:
        raise _Bad(f"{end - at} bytes after the last section")
    if kind is Kind.META and event.extra is None:
        raise _Bad("META without its description")
    return event, size


def _decode_regs(
    raw: bytes, at: int, end: int, before: tuple[int, ...]
) -> tuple[tuple[int, ...], int]:
    if end - at < 4:
        raise _Bad("the register mask is cut")
    mask: int = _U32.unpack_from(raw, at)[0]
    at += 4
    if mask & ~_ALL_REGS:
        raise _Bad(f"register mask {mask:#x}, there are {N_REGS} registers")
    n = mask.bit_count()
    if end - at < 8 * n:
        raise _Bad(f"{n} registers announced, {end - at} bytes left")
    regs = list(before)
    for i, value in zip(_set_bits(mask), struct.unpack_from(f"<{n}Q", raw, at), strict=True):
        regs[i] = value
    return tuple(regs), at + 8 * n


@lru_cache(4096)
def _set_bits(mask: int) -> tuple[int, ...]:
    return tuple(i for i in range(N_REGS) if mask >> i & 1)


def _section(raw: bytes, at: int, end: int, what: str) -> tuple[bytes, int]:
    if end - at < 4:
        raise _Bad(f"the length of the {what} section is cut")
    n: int = _U32.unpack_from(raw, at)[0]
    at += 4
    if n > end - at:
        raise _Bad(f"{what} section of {n} bytes, {end - at} left in the event")
    return raw[at : at + n], at + n


def decode_in(blob: bytes) -> tuple[InItem, ...]:
    """The items of an input blob.  Raises RecordingError."""
    try:
        return _decode_in(blob)
    except _Bad as e:
        raise RecordingError(f"the recording is damaged: {e}") from None


def decode_out(blob: bytes) -> tuple[OutItem, ...]:
    """The items of an output blob.  Raises RecordingError."""
    try:
        return _decode_out(blob)
    except _Bad as e:
        raise RecordingError(f"the recording is damaged: {e}") from None


def _decode_in(blob: bytes) -> tuple[InItem, ...]:
    items = []
    at = 0
    while at < len(blob):
        if len(blob) - at < _IN_HEAD.size:
            raise _Bad(f"the input item at {at} is cut")
        arg, what, kept, length = _IN_HEAD.unpack_from(blob, at)
        at += _IN_HEAD.size
        if arg > 5 or what > InWhat.FAULT or kept > length:
            raise _Bad(f"input item for argument {arg}: what {what}, {kept} of {length} bytes")
        digest = None
        if length > kept:
            if len(blob) - at < 8:
                raise _Bad("the digest of an input item is cut")
            digest = _U64.unpack_from(blob, at)[0]
            at += 8
        if len(blob) - at < kept:
            raise _Bad(f"input item of {kept} bytes, {len(blob) - at} left")
        items.append(InItem(arg, InWhat(what), length, blob[at : at + kept], digest))
        at += kept
    return tuple(items)


def _decode_out(blob: bytes) -> tuple[OutItem, ...]:
    items = []
    at = 0
    while at < len(blob):
        if len(blob) - at < _OUT_HEAD.size:
            raise _Bad(f"the output item at {at} is cut")
        address, length = _OUT_HEAD.unpack_from(blob, at)
        at += _OUT_HEAD.size
        if length > len(blob) - at:
            raise _Bad(f"output item of {length} bytes, {len(blob) - at} left")
        if address + length > _U64_MAX:
            raise _Bad(f"output item of {length} bytes at {address:#x}")
        items.append(OutItem(address, blob[at : at + length]))
        at += length
    return tuple(items)


def _decode_extra(blob: bytes) -> dict[str, Any]:
    try:
        extra = json.loads(blob.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as e:
        raise _Bad(f"the extra section is not JSON ({e})") from None
    if not isinstance(extra, dict):
        raise _Bad("the extra section is not a JSON object")
    return extra


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
