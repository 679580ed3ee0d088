"""The encoder and the decoder are each other's inverse, and the decoder is strict."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relive.errors import RecordingError
from relive.trace.events import (
    Encoder,
    Event,
    InItem,
    OutItem,
    decode_chunk,
    decode_in,
    decode_out,
    encode_events,
    encode_in,
    encode_out,
)
from relive.trace.kinds import KIND_BITS, Flag, InWhat, Kind

u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
u64 = st.integers(0, (1 << 64) - 1)
texts = st.text(st.characters(codec="utf-8"), max_size=8)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def in_items(draw: st.DrawFn) -> InItem:
    data = draw(st.binary(max_size=80))
    more = draw(st.integers(0, 1000))
    digest = draw(u64) if more else None
    return InItem(
        draw(st.integers(0, 5)), draw(st.sampled_from(InWhat)), len(data) + more, data, digest
    )


@st.composite
def events(draw: st.DrawFn) -> Event:
    kind = draw(st.sampled_from(Kind))
    out = st.builds(OutItem, st.integers(0, (1 << 63)), st.binary(max_size=50))
    return Event(
        kind,
        draw(u32 | st.integers(1, 3)),
        draw(u16),
        bits=draw(st.integers(0, 255)) & KIND_BITS[kind],
        time_ms=draw(u32),
        regs=draw(st.none() | st.lists(u64 | st.just(0), min_size=27, max_size=27)),
        result=draw(st.none() | st.integers(-(1 << 63), (1 << 63) - 1)),
        in_items=draw(st.none() | st.lists(in_items(), max_size=4)),
        out_items=draw(st.none() | st.lists(out, max_size=4)),
        extra=draw(
            st.dictionaries(texts, values, max_size=4)
            if kind is Kind.META
            else st.none() | st.dictionaries(texts, values, max_size=4)
        ),
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(events(), max_size=12), st.integers(0, 1 << 40))
def test_round_trip(made: list[Event], first: int) -> None:
    for i, event in enumerate(made):
        event.number = first + i
    raw = encode_events(made)
    assert list(decode_chunk(raw, first, n_events=len(made))) == made


@settings(max_examples=150, deadline=None)
@given(st.lists(events(), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_damaged_chunks_give_recording_errors_only(made: list[Event], r: random.Random) -> None:
    raw = bytearray(encode_events(made))
    for _ in range(r.randrange(1, 4)):
        action = r.randrange(3)
        at = r.randrange(len(raw) + 1)
        if action == 0 and at < len(raw):
            raw[at] ^= 1 << r.randrange(8)
        elif action == 1:
            del raw[at : at + r.randrange(1, 9)]
        else:
            raw[at:at] = r.randbytes(r.randrange(1, 9))
    try:
        for event in decode_chunk(bytes(raw)):
            assert encode_events([event])  # whatever was accepted is a proper event
    except RecordingError as e:
        assert "chunk 0, event " in str(e)
        assert "offset" in str(e)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_noise(raw: bytes) -> None:
    for decode in (decode_in, decode_out, lambda b: list(decode_chunk(b))):
        try:
            decode(raw)
        except RecordingError:
            pass


@given(st.lists(in_items(), max_size=5))
def test_input_blob(items: list[InItem]) -> None:
    assert list(decode_in(encode_in(items))) == items


def test_register_deltas_are_per_task_and_chunk() -> None:
    a, b = list(range(27)), list(range(100, 127))
    encoder = Encoder()
    encoder.add(Event(Kind.REGS, 1, regs=a))
    full = len(encoder.raw)
    assert full == 16 + 4 + 26 * 8  # register 0 is 0: not logged
    encoder.add(Event(Kind.REGS, 2, regs=b))
    encoder.add(Event(Kind.REGS, 1, regs=[*a[:-1], 7]))
    encoder.add(Event(Kind.REGS, 2, regs=b))
    raw, n = encoder.take()
    assert n == 4
    assert len(raw) == full + (20 + 27 * 8) + (20 + 8) + 20
    assert [e.regs for e in decode_chunk(raw)] == [
        tuple(a),
        tuple(b),
        (*a[:-1], 7),
        tuple(b),
    ]
    encoder.add(Event(Kind.REGS, 1, regs=a))
    assert len(encoder.take()[0]) == full  # a new chunk starts from zeros


def test_bytes_on_disk_are_as_documented() -> None:
    """Written by hand from docs/format.md."""
    raw = (
        struct.pack("<IBBHII", 16 + 4 + 16 + 8 + (4 + 11) + (4 + 14) + (4 + 2), 3, 0x3F, 1, 2, 3)
        + struct.pack("<IQQ", 1 << 10 | 1 << 16, 0xAA, 0x401000)
        + struct.pack("<q", -2)
        + struct.pack("<I", 11)
        + struct.pack("<BBHI", 1, 1, 3, 3)
        + b"abc"
        + struct.pack("<I", 14)
        + struct.pack("<QI", 0x7000, 2)
        + b"xy"
        + struct.pack("<I", 2)
        + b"{}"
    )
    regs = [0] * 27
    regs[10], regs[16] = 0xAA, 0x401000  # rax, rip
    event = Event(
        Kind.SYSCALL,
        2,
        1,
        number=5,
        bits=0x20,
        time_ms=3,
        regs=regs,
        result=-2,
        in_items=[InItem(1, InWhat.STRING, 3, b"abc")],
        out_items=[OutItem(0x7000, b"xy")],
        extra={},
    )
    assert list(decode_chunk(raw, 5)) == [event]
    assert encode_events([event]) == raw


def _head(size: int, kind: int = 3, flags: int = 0) -> bytes:
    return struct.pack("<IBBHII", size, kind, flags, 0, 1, 0)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"\x10\0\0", "3 bytes left"),
        (_head(15), "size 15"),
        (_head(17), "size 17"),
        (_head(0xFFFFFFFF), "size 4294967295"),
        (_head(16, kind=0), "unknown kind 0"),
        (_head(16, kind=15), "unknown kind 15"),
        (_head(16, flags=0x80), "unknown flags"),
        (_head(16, kind=12, flags=0x20), "unknown flags"),
        (_head(16, flags=Flag.REGS), "mask is cut"),
        (_head(20, flags=Flag.REGS) + b"\0\0\0\x08", "register mask"),
        (_head(20, flags=Flag.REGS) + b"\1\0\0\0", "1 registers announced"),
        (_head(20, flags=Flag.RESULT) + bytes(4), "result is cut"),
        (_head(18, flags=Flag.IN) + bytes(2), "length of the input"),
        (_head(20, flags=Flag.OUT) + b"\xff\xff\xff\xff", "output section of 4294967295"),
        (_head(20) + bytes(4), "after the last section"),
        (_head(22, flags=Flag.EXTRA) + b"\2\0\0\0[]", "not a JSON object"),
        (_head(22, flags=Flag.EXTRA) + b"\2\0\0\0{\xff", "not JSON"),
        (_head(30, flags=Flag.EXTRA) + b'\x0a\0\0\0{"a": NaN}', "not JSON"),
        (_head(16, kind=1), "META without"),
        (_head(28, flags=Flag.IN) + b"\x08\0\0\0" + b"\6\0\0\0\0\0\0\0", "argument 6"),
        (_head(28, flags=Flag.IN) + b"\x08\0\0\0" + b"\0\3\0\0\0\0\0\0", "what 3"),
        (_head(28, flags=Flag.IN) + b"\x08\0\0\0" + b"\0\0\1\0\0\0\0\0", "1 of 0 bytes"),
        (_head(28, flags=Flag.IN) + b"\x08\0\0\0" + b"\0\0\0\0\1\0\0\0", "digest"),
        (_head(28, flags=Flag.IN) + b"\x08\0\0\0" + b"\0\0\1\0\1\0\0\0", "of 1 bytes, 0 left"),
        (_head(24, flags=Flag.OUT) + b"\x04\0\0\0" + bytes(4), "item at 0 is cut"),
        (_head(32, flags=Flag.OUT) + b"\x0c\0\0\0" + bytes(8) + b"\1\0\0\0", "1 bytes, 0 left"),
        (
            _head(33, flags=Flag.OUT) + b"\x0d\0\0\0" + b"\xff" * 8 + b"\1\0\0\0" + b"x",
            "at 0xffffffffffffffff",
        ),
    ],
)
def test_strictness(raw: bytes, says: str) -> None:
    good = encode_events([Event(Kind.NOTE, extra={})])
    with pytest.raises(RecordingError, match=says) as caught:
        list(decode_chunk(good + raw, 7, chunk=2))
    assert f"chunk 2, event 8, offset {len(good)}:" in str(caught.value)


def test_deep_json_is_refused() -> None:
    blob = b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    raw = struct.pack("<IBBHIII", 20 + len(blob), 13, 0x10, 0, 0, 0, len(blob)) + blob
    with pytest.raises(RecordingError, match="not JSON"):
        list(decode_chunk(raw))


def test_number_of_events_is_checked() -> None:
    raw = encode_events([Event(Kind.NOTE, extra={})])
    for n in (0, 2):
        with pytest.raises(RecordingError, match=f"1 events where {n}"):
            list(decode_chunk(raw, n_events=n))


@pytest.mark.parametrize(
    "event",
    [
        Event(Kind.NOTE, nr=1 << 16),
        Event(Kind.NOTE, 1 << 32),
        Event(Kind.NOTE, result=1 << 63),
        Event(Kind.NOTE, regs=[0] * 26),
        Event(Kind.NOTE, regs=[-1] * 27),
        Event(Kind.NOTE, in_items=[InItem(0, InWhat.BLOCK, 3, b"ab")]),
        Event(Kind.NOTE, in_items=[InItem(0, InWhat.BLOCK, 2, b"ab", 1)]),
        Event(Kind.NOTE, extra={"a": float("nan")}),
    ],
)
def test_encoder_refuses_what_does_not_fit(event: Event) -> None:
    encoder = Encoder()
    encoder.add(Event(Kind.NOTE, extra={}))
    before = bytes(encoder.raw)
    with pytest.raises(ValueError, match=r"."):
        encoder.add(event)
    assert (bytes(encoder.raw), encoder.n_events) == (before, 1)


def test_output_blob() -> None:
    items = [OutItem(1, b""), OutItem(2, b"abc")]
    assert list(decode_out(encode_out(items))) == items
    assert decode_out(b"") == ()
