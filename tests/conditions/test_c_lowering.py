"""Places of C variables: DWARF expressions, bit-fields and pieces as conditions' expressions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relive.arch import x86_64
from relive.conditions import reference
from relive.conditions.c import typenames
from relive.conditions.c.lowering import Context, place, value
from relive.conditions.c.places import Bytes, Memory, Nowhere, Pieces, Place, Word
from relive.conditions.errors import ConditionError
from relive.conditions.ir import WORD_MASK, Binary, Const, Expr, Reg, Select, to_signed
from relive.symbols.dwarf.types import Base, Void
from relive.symbols.expression import evaluate
from relive.symbols.unwind import DWARF

CFA = Const(0x7000)
REGS = [0x1000 * n + n for n in range(len(x86_64.REGISTERS))]
BY_DWARF = {n: REGS[index] for n, index in enumerate(DWARF)}
CONTEXT = Context(
    0x100000,
    lambda: CFA,
    lambda: Const(0x6000),
    lambda index: 0x10 * index,
    lambda offset: Binary("add", Const(0x9000), offset),
    lambda offset: {1: (4, True), 2: (4, False), 3: (8, False)}[offset],
)


def memory(address: int, size: int) -> bytes:
    """Every address can be read."""
    return bytes((address + n) * 37 & 0xFF for n in range(size))


def word(expr: Expr) -> int:
    return reference.value(expr, REGS, memory, 1)


STEPS = st.one_of(
    st.integers(0x30, 0x4F).map(lambda op: bytes((op,))),
    st.tuples(st.integers(0x70, 0x7F), st.integers(0, 0x7F)).map(bytes),
    st.tuples(st.just(0x08), st.integers(0, 255)).map(bytes),
    st.tuples(st.just(0x09), st.integers(0, 255)).map(bytes),
    st.integers(0, (1 << 64) - 1).map(lambda n: b"\x0e" + n.to_bytes(8, "little")),
    st.tuples(st.just(0x23), st.integers(0, 0x7F)).map(bytes),
    st.sampled_from(
        [bytes((op,)) for op in (0x06, 0x12, 0x14, 0x16, 0x17, 0x19, 0x1F, 0x20, 0x96)]
        + [bytes((op,)) for op in (0x1A, 0x1C, 0x1E, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27)]
        + [bytes((op,)) for op in range(0x29, 0x2F)]
        + [b"\x94" + bytes((size,)) for size in (1, 2, 3, 4, 5, 8)]
        + [b"\x15" + bytes((index,)) for index in range(3)]
    ),
)


@given(st.lists(STEPS, max_size=12))
def test_as_the_unwinder_evaluates(steps: list[bytes]) -> None:
    expression = b"\x31\x32\x33" + b"".join(steps)
    try:
        expected = evaluate(expression, BY_DWARF, memory)
    except IndexError:
        return  # not enough on the stack
    lowered = value(expression, CONTEXT)
    assert word(lowered) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (b"\x91\x7c", Memory(Const(0x6000 - 4))),  # fbreg -4
        (b"\x9c\x23\x08", Memory(Const(0x7008))),  # call_frame_cfa, plus_uconst
        (b"\x03" + (0x2000).to_bytes(8, "little"), Memory(Const(0x102000))),  # addr
        (b"\xa1\x02", Memory(Const(0x100020))),  # addrx
        (b"\xa2\x02\x9f", Word(Const(0x20))),  # constx, stack_value
        (b"\x55", Word(Reg(DWARF[5]))),  # reg5
        (b"\x90\x05", Word(Reg(DWARF[5]))),  # regx
        (b"\x35\x9f", Word(Const(5))),
        (b"\x9e\x03abc", Bytes(b"abc")),  # implicit_value
        (b"\x55\x93\x04\x91\x00\x93\x08",  # reg5, piece 4, fbreg 0, piece 8
         Pieces(((Word(Reg(DWARF[5])), 4), (Memory(Const(0x6000)), 8)))),
        (b"", Nowhere("a part of it is optimised out here")),
        (b"\x31\x28\x04\x00\x32\x2f\x01\x00\x33\x9f",  # lit1 bra(+4) lit2 skip(+1) lit3 stack_value
         Word(Select(Const(1), Const(3), Const(2)))),
    ],
)  # fmt: skip
def test_places(expression: bytes, expected: Place) -> None:
    assert place(expression, CONTEXT) == expected


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        (b"\x91", "makes no sense"),
        (b"\x22", "makes no sense"),
        (b"\xa3\x01\x55\x9f", "only the value at the function's beginning"),
        (b"\xf3\x01\x55\x9f", "only the value at the function's beginning"),
        (b"\x31\x28\xfd\xff", "with jumps"),
        (b"\x82\x00", "vector|registers"),
        (b"\x97", "DWARF operation 0x97"),
    ],
)
def test_what_can_not_be(expression: bytes, why: str) -> None:
    with pytest.raises(ConditionError, match=why):
        place(expression, CONTEXT)


def test_vector_registers_are_named() -> None:
    found = place(b"\x61", CONTEXT)
    with pytest.raises(ConditionError, match="xmm0"):
        found.word(0, 4)
    found = place(b"\x55\x93\x08\x62\x93\x08", CONTEXT)
    assert word(found.word(0, 8)) == BY_DWARF[5]
    with pytest.raises(ConditionError, match="xmm1"):
        found.word(8, 8)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # regval_type (rdi as int), convert to long
        (b"\xa5\x05\x01\xa8\x00\x9f", to_signed(BY_DWARF[5] & 0xFFFFFFFF)),
        # const8u 2**31, convert int: negative
        (b"\x0e" + (1 << 31).to_bytes(8, "little") + b"\xa8\x01\x9f", -(1 << 31)),
        # unsigned ints wrap at 32 bits
        (b"\x0c\xff\xff\xff\xff\xa8\x02\x31\xa8\x02\x22\x9f", 0),
        # unsigned division and comparison of 64 bits
        (b"\x09\xff\xa8\x03\x32\xa8\x03\x1b\x9f", (1 << 63) - 1),
        (b"\x09\xff\xa8\x03\x31\xa8\x03\x2d\x9f", 0),
    ],
)
def test_operations_with_types(expression: bytes, expected: int) -> None:
    found = place(expression, CONTEXT)
    assert to_signed(word(found.word(0, 8))) == expected


@given(st.binary(min_size=24, max_size=24), st.integers(0, 127), st.integers(1, 64), st.booleans())
def test_bit_fields(data: bytes, first: int, width: int, signed: bool) -> None:
    whole = int.from_bytes(data, "little")
    expected = whole >> first & (1 << width) - 1
    if signed and expected >> width - 1:
        expected -= 1 << width
    read: list[tuple[int, int]] = []

    def load(address: int, size: int) -> bytes:
        read.append((address, size))
        return data[address : address + size]

    for at in (Memory(Const(0)), Bytes(data)):
        found = at.bits(first, width, signed=signed)
        assert reference.value(found, REGS, load, 1) == expected & WORD_MASK
    for address, size in read:  # no byte that has none of its bits
        assert first // 8 <= address and address + size <= (first + width + 7) // 8


@given(st.binary(min_size=16, max_size=16), st.integers(0, 15), st.integers(1, 8), st.data())
def test_pieces(data: bytes, offset: int, size: int, draw: st.DataObject) -> None:
    cuts = sorted(draw.draw(st.sets(st.integers(1, 15), max_size=4)))
    parts = [data[a:b] for a, b in zip([0, *cuts], [*cuts, 16], strict=True)]
    pieces = Pieces(tuple((Bytes(part), len(part)) for part in parts))
    if offset + size > 16:
        with pytest.raises(ConditionError):
            pieces.word(offset, size)
        return
    expected = int.from_bytes(data[offset : offset + size], "little")
    assert word(pieces.word(offset, size)) == expected
    assert word(pieces.part(offset, size).word(0, size)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("int", typenames.TypeName("int", "", 0, ())),
        ("const  struct node *", typenames.TypeName("node", "struct", 1, ())),
        ("unsigned long**", typenames.TypeName("unsigned long", "", 2, ())),
        ("char [3][4]", typenames.TypeName("char", "", 0, (3, 4))),
        ("geo::Box<int> *", typenames.TypeName("geo::Box<int>", "", 1, ())),
    ],
)
def test_names_of_types(text: str, expected: typenames.TypeName) -> None:
    assert typenames.parse(text) == expected


def test_types_that_need_no_description() -> None:
    assert typenames.builtin("void") == Void()
    sizes = {
        "long long unsigned int": (8, "unsigned"),
        "short": (2, "signed"),
        "char": (1, "signed"),
    }
    for name, (size, encoding) in sizes.items():
        found = typenames.builtin(name)
        assert isinstance(found, Base)
        assert (found.size, found.encoding) == (size, encoding)
    assert typenames.builtin("node") is None
    for text in ("", "struct", "*", "int & &"):
        with pytest.raises(ConditionError):
            typenames.parse(text)
