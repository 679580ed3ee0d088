"""A recording may come from anybody: whatever an event holds, its line can be printed."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from relive.arch import x86_64
from relive.cli.eventtext import Describer, as_json, sections
from relive.syscalls.table import by_number
from relive.trace.events import Event, InItem, OutItem
from relive.trace.kinds import KIND_BITS, InWhat, Kind

ADDRESS = st.sampled_from((0x1000, 0x2000, 0x3000))
VALUE = st.one_of(ADDRESS, st.integers(0, 20), st.integers(0, (1 << 64) - 1))
DATA = st.binary(max_size=200)
#: values of JSON as they come out of a recording, surrogates included
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def in_items(draw: st.DrawFn) -> InItem:
    data = draw(DATA)
    more = draw(st.sampled_from((0, 0, 5, 1 << 31)))
    what = draw(st.sampled_from(list(InWhat)))
    return InItem(draw(st.integers(0, 5)), what, len(data) + more, data, 1 if more else None)


@st.composite
def events(draw: st.DrawFn) -> Event:
    kind = draw(st.sampled_from(list(Kind)))
    args = dict(zip(x86_64.SYSCALL_ARGS, draw(st.tuples(*[VALUE] * 6)), strict=True))
    regs = [args.get(register.name, 0) for register in x86_64.REGISTERS]
    return Event(
        kind,
        draw(st.integers(0, 2)),
        draw(st.sampled_from([*by_number, 600, 65535])),
        bits=draw(st.integers(0, 255)) & KIND_BITS[kind],
        regs=draw(st.sampled_from((None, regs))),
        result=draw(st.none() | st.integers(-4096, 300) | st.integers(-(1 << 63), (1 << 63) - 1)),
        in_items=draw(st.none() | st.lists(in_items(), max_size=4)),
        out_items=draw(st.none() | st.lists(st.builds(OutItem, ADDRESS, DATA), max_size=3)),
        extra=draw(st.none() | st.dictionaries(st.text(), JSON, max_size=3)),
    )


@settings(max_examples=600, deadline=None)
@given(st.lists(events(), min_size=1, max_size=3))
def test_any_event_can_be_printed(some: list[Event]) -> None:
    describer = Describer(wide=True)
    for event in some:
        assert describer.describe(event).isprintable()
        assert sections(event).isascii()
        json.dumps(as_json(event))
