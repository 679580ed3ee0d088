"""gdb's agent expressions as the IR, against a plain interpreter of the bytecode."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relive.conditions import ir
from relive.conditions.agentexpr import GDB_REGISTERS, decode, decode_conditions
from relive.conditions.errors import AgentExpressionError
from relive.conditions.language import parse
from relive.conditions.printing import to_text
from relive.conditions.reference import Undecided, value
from relive.conditions.simplify import simplify
from tests.conditions.gdb_bytecode import assemble, interpret, programs
from tests.conditions.strategies import LONG, Generator, Memory, State

# What gdb 13.1 makes of conditions on `f (int x, struct s *p, unsigned long n)` without
# optimisation, where the arguments are at rbp - 20, - 32 and - 40 (`maint agent-eval`).
X = """
reg 6
const8 16
add
const8 236
ext 8
add
ref32
ext 32
"""
GDB_CODE = [
    ("x == 5", X + "const8 5\nequal\nend", "i32[rbp + -4] == 5"),
    (
        "x == 5 && p->next != 0",
        """
  0  reg 6
  3  const8 16
  5  add
  6  const8 236
  8  ext 8
 10  add
 11  ref32
 12  ext 32
 14  const8 5
 16  equal
 17  if_goto 23
 20  goto 54
 23  reg 6
 26  const8 16
 28  add
 29  const8 224
 31  ext 8
 33  add
 34  ref64
 35  const8 8
 37  add
 38  ref64
 39  const8 0
 41  equal
 42  log_not
 43  if_goto 49
 46  goto 54
 49  const8 1
 51  goto 56
 54  const8 0
 56  end
""",
        "i32[rbp + -4] == 5 and u64[u64[rbp + -16] + 8]",
    ),
    (
        "x == 5 || p->b > 3",
        """
  0  reg 6
  3  const8 16
  5  add
  6  const8 236
  8  ext 8
 10  add
 11  ref32
 12  ext 32
 14  const8 5
 16  equal
 17  if_goto 48
 20  reg 6
 23  const8 16
 25  add
 26  const8 224
 28  ext 8
 30  add
 31  ref64
 32  const8 4
 34  add
 35  ref8
 36  const8 3
 38  swap
 39  less_signed
 40  if_goto 48
 43  const8 0
 45  goto 50
 48  const8 1
 50  end
""",
        "i32[rbp + -4] == 5 or 3 < i64(u8[u64[rbp + -16] + 4])",
    ),
    (
        "x ? gi : gl",
        """
  0  reg 6
  3  const8 16
  5  add
  6  const8 236
  8  ext 8
 10  add
 11  ref32
 12  ext 32
 14  log_not
 15  if_goto 33
 18  const64 93824992247824
 27  ref32
 28  ext 32
 30  goto 45
 33  const64 93824992247880
 42  ref64
 43  ext 64
 45  end
""",
        "i32[0x555555558010] if i32[rbp + -4] else i64(u64[0x555555558048])",
    ),
    ("gi, gl", "const64 93824992247824\npop\nconst64 93824992247880\nref64\next 64\nend", None),
    (
        "n / 3 > 5",
        """
  0  reg 6
  3  const8 16
  5  add
  6  const8 216
  8  ext 8
 10  add
 11  ref64
 12  const8 3
 14  zero_ext 64
 16  div_unsigned
 17  zero_ext 64
 19  const8 5
 21  zero_ext 64
 23  swap
 24  less_unsigned
 25  end
""",
        "5 < u64[rbp + -24] // 3",
    ),
    ("$rdi == 5", "reg 5\next 64\nconst8 5\nequal\nend", "rdi == 5"),
    ("$fs_base", "reg 58\next 64\nend", "fs_base"),
]


@pytest.mark.parametrize(("source", "listing", "text"), GDB_CODE)
def test_what_gdb_sends(source: str, listing: str, text: str | None) -> None:
    code = assemble(listing)
    expr = simplify(decode(code.hex()))
    if text is not None:
        # In the place of a condition both signs of a word are the same.
        assert simplify(parse(text)) == expr, to_text(expr)


def same(code: bytes, state: State) -> bool:
    """The expression and the code agree; whether they are decided."""
    expr = decode(code)
    try:
        expected = interpret(code, state.regs, state.memory.read)
    except Undecided:
        with pytest.raises(Undecided):
            value(expr, state.regs, state.memory.read, state.hits)
        return False
    assert value(expr, state.regs, state.memory.read, state.hits) == expected, code.hex()
    return True


@pytest.mark.limit(600)
def test_equal_to_the_interpreter() -> None:
    generator = Generator(seed=41)
    memory = generator.memory()
    decided = too_large = 0
    count = 150_000 if LONG else 4_000
    for code in programs(count, seed=42):
        try:
            decided += same(code, generator.state(memory))
        except AgentExpressionError as error:
            assert error.what == "the condition is too large"
            too_large += 1
    assert count / 10 < decided < count * 9 / 10
    assert too_large < count / 50


STATE = State(tuple(range(27)), Memory(((0x1000, bytes(16)),)), 1)


@pytest.mark.parametrize(
    "listing",
    [
        # What is thrown away is evaluated all the same.
        "const8 0\nref8\npop\nconst8 1\nend",
        "const8 0\nref8\nconst8 1\nend",
        "const8 1\nconst8 0\ndiv_signed\npop\nconst8 1\nend",
        # Both ways lead to the same, but the condition can't be read.
        "0 const8 0\n2 ref64\n3 if_goto 6\n6 const8 1\n8 end",
        "const8 0\nref8\nconst8 0\nbit_and\nend",
    ],
)
def test_faults_are_kept(listing: str) -> None:
    assert not same(assemble(listing), STATE)


@pytest.mark.parametrize(
    ("listing", "result"),
    [
        ("const8 1\nconst8 2\nconst8 3\nrot\nend", 2),
        ("const8 1\nconst8 2\nconst8 3\nrot\npop\nend", 1),
        ("const8 1\nconst8 2\nconst8 3\npick 2\nend", 1),
        ("const8 1\nconst8 2\nswap\nsub\nend", 1),
        ("const8 255\next 8\nend", ir.WORD_MASK),
        ("const16 511\nzero_ext 8\nend", 255),
        ("const64 81985529216486895\nend", 0x0123456789ABCDEF),
        ("const8 200\next 200\nend", 200),
        ("const8 7\nlog_not\nend", 0),
        ("reg 16\nend", 16),  # gdb's 16 is rip, which is 16 in the struct, too
        ("reg 0\nend", 10),  # rax
    ],
)
def test_operations(listing: str, result: int) -> None:
    code = assemble(listing)
    assert value(decode(code), STATE.regs, STATE.memory.read, 1) == result
    assert interpret(code, STATE.regs, STATE.memory.read) == result


@pytest.mark.parametrize(
    ("code", "offset", "what"),
    [
        ("", 0, "the code goes on beyond its last byte"),
        ("zz", 0, "these are not hexadecimal digits"),
        ("2205", 2, "the code goes on beyond its last byte"),
        ("22", 0, "the operand is cut off"),
        ("27", 0, "no value is left at the end"),
        ("02", 1, "the code goes on beyond its last byte"),
        ("0227", 0, "the stack is empty"),
        ("2201320127", 2, "the stack is empty"),
        ("2201ff27", 2, "there is no operation 0xff"),
        ("22013127", 2, "there is no operation 0x31"),
        ("2201160027", 2, "no number has 0 bits"),
        ("26001827", 0, "gdb's register 24 can't be used in a condition"),
        ("220120000027", 2, "the code has a loop"),
        ("21000027", 0, "the code has a loop"),
        ("2201200099" + "220127", 0x99, "the code goes on beyond its last byte"),
        ("22012000072201" + "220127", 2, "the stack is not the same on both ways"),
        ("2c000127", 0, "getv is not possible in a condition (tracepoints)"),
        ("01", 0, "float is not possible in a condition (floating point)"),
        ("22010c27", 2, "trace is not possible in a condition (tracepoints)"),
    ],
)
def test_errors(code: str, offset: int, what: str) -> None:
    with pytest.raises(AgentExpressionError) as caught:
        decode(code)
    assert (caught.value.offset, caught.value.what) == (offset, what)


def test_code_that_would_explode_is_refused() -> None:
    doubling = "const8 1\n" + "dup\nadd\n" * 300 + "end"
    with pytest.raises(AgentExpressionError, match="too large"):
        decode(assemble(doubling))
    nested = bytearray()
    for _ in range(2000):
        nested += b"\x22\x01\x20" + (2000 * 5).to_bytes(2, "big")
    with pytest.raises(AgentExpressionError, match="too large"):
        decode(bytes(nested) + b"\x22\x01\x27")
    # Every pair of jumps doubles the ways; they meet after each.
    many = b"\x22\x00"
    for _ in range(100):
        here = len(many)
        many += b"\x26\x00\x00\x20" + (here + 11).to_bytes(2, "big")
        many += b"\x22\x00\x21" + (here + 13).to_bytes(2, "big") + b"\x22\x01\x02"
    ir.check(decode(many + b"\x27"))


def test_condition_lists() -> None:
    five, six = assemble("reg 5\nconst8 5\nequal\nend"), assemble("reg 5\nconst8 6\nequal\nend")
    one = f"X{len(five):x},{five.hex()}"
    two = f"X{len(six):x},{six.hex()}"
    assert decode_conditions(one) == decode(five)
    assert decode_conditions(";" + one + two) == ir.any_of([decode(five), decode(six)])
    for wrong in ("", "X", "X7,2205", f"{one}Y", "cmds:0", "X-1,00", "X1,zz"):
        with pytest.raises(AgentExpressionError):
            decode_conditions(wrong)


def test_other_register_numbers() -> None:
    assert decode("26000327", {3: 7}) == ir.Reg(7)
    assert len(set(GDB_REGISTERS.values())) == ir.N_REGISTERS


@given(st.binary(max_size=40))
def test_any_bytes_decode_or_are_refused(code: bytes) -> None:
    try:
        expr = decode(code)
    except AgentExpressionError:
        return
    ir.check(expr)
    same(code, STATE)


@pytest.mark.limit(600)
def test_damaged_code_decodes_or_is_refused() -> None:
    randoms = random.Random(43)
    for code in programs(30_000 if LONG else 2_000, seed=44):
        damaged = bytearray(code)
        damaged[randoms.randrange(len(code))] = randoms.randrange(256)
        try:
            decode(bytes(damaged))
        except AgentExpressionError:
            continue
        same(bytes(damaged), STATE)
