"""The reference evaluator against the words of docs/conditions.md."""

from __future__ import annotations

import pytest
from hypothesis import given

from relive.conditions import ir
from relive.conditions.ir import (
    WORD_MASK,
    Binary,
    BinaryOp,
    Const,
    Expr,
    Hits,
    Load,
    Logic,
    Outcome,
    Select,
    Unary,
    const,
)
from relive.conditions.reference import Undecided, binary, evaluate, unary, value
from tests.conditions.strategies import Memory, State, conditions, states, triples

REGS = tuple(range(27))
MEMORY = Memory(((0x1000, bytes(range(0x80, 0x90))),))
BAD = Load(Const(0), 8)
MIN = 1 << 63


def run(expr: Expr, hits: int = 1) -> int:
    return value(expr, REGS, MEMORY.read, hits)


@pytest.mark.parametrize(
    ("op", "a", "b", "expected"),
    [
        ("add", WORD_MASK, 1, 0),
        ("sub", 0, 1, WORD_MASK),
        ("mul", 1 << 63, 3, 1 << 63),
        ("udiv", WORD_MASK, 10, WORD_MASK // 10),
        ("urem", WORD_MASK, 10, 5),
        ("sdiv", -7, 2, -3),
        ("sdiv", 7, -2, -3),
        ("sdiv", -7, -2, 3),
        ("srem", -7, 2, -1),
        ("srem", 7, -2, 1),
        ("srem", -7, -2, -1),
        ("sdiv", MIN, -1, MIN),
        ("srem", MIN, -1, 0),
        ("and", 12, 10, 8),
        ("or", 12, 10, 14),
        ("xor", 12, 10, 6),
        ("shl", 1, 63, MIN),
        ("shl", 1, 64, 0),
        ("shl", 1, WORD_MASK, 0),
        ("lshr", MIN, 63, 1),
        ("lshr", MIN, 64, 0),
        ("ashr", MIN, 63, -1),
        ("ashr", MIN, 64, -1),
        ("ashr", MIN - 1, 1 << 32, 0),
        ("eq", 5, 5, 1),
        ("ne", 5, 5, 0),
        ("ult", 1, -1, 1),
        ("slt", 1, -1, 0),
        ("slt", -1, 1, 1),
        ("ule", -1, -1, 1),
        ("sle", MIN, MIN - 1, 1),
        ("sle", 0, 0, 1),
    ],
)
def test_binary(op: BinaryOp, a: int, b: int, expected: int) -> None:
    assert binary(op, a & WORD_MASK, b & WORD_MASK) == expected & WORD_MASK


def test_unary() -> None:
    assert unary("neg", 1) == WORD_MASK
    assert unary("neg", MIN) == MIN
    assert unary("not", 0) == WORD_MASK
    assert unary("lnot", 0) == 1
    assert unary("lnot", 7) == 0


def test_division_by_zero_is_undecided() -> None:
    for op in ir.DIVISION_OPS:
        with pytest.raises(Undecided) as caught:
            binary(op, 5, 0)
        assert caught.value.address is None


def test_loads() -> None:
    assert run(Load(Const(0x1000), 1)) == 0x80
    assert run(Load(Const(0x1000), 1, signed=True)) == 0x80 - 0x100 & WORD_MASK
    assert run(Load(Const(0x1001), 4)) == 0x84838281
    assert run(Load(Const(0x1008), 8)) == 0x8F8E8D8C8B8A8988


@pytest.mark.parametrize("address", [0, 0xFFF, 0x1009, 0x1010, WORD_MASK, WORD_MASK - 6])
def test_a_load_across_an_edge_is_undecided(address: int) -> None:
    with pytest.raises(Undecided) as caught:
        run(Load(Const(address), 8))
    assert (caught.value.address, caught.value.size) == (address, 8)


def test_a_load_is_not_asked_to_wrap_around() -> None:
    def read(address: int, size: int) -> bytes:
        assert address + size <= 1 << 64
        return bytes(size)

    assert evaluate(Load(Const(WORD_MASK), 2), REGS, read, 1) is Outcome.UNDECIDED
    assert evaluate(Load(Const(WORD_MASK), 1), REGS, read, 1) is Outcome.REJECT


def test_short_circuit_protects() -> None:
    assert run(Logic("and", Const(0), BAD)) == 0
    assert run(Logic("or", Const(9), BAD)) == 1
    assert run(Select(Const(1), Const(4), BAD)) == 4
    assert run(Select(Const(0), BAD, Const(4))) == 4
    for expr in (
        Logic("and", Const(1), BAD),
        Logic("or", Const(0), BAD),
        Select(BAD, Const(1), Const(1)),
        Binary("mul", Const(0), BAD),
        Binary("and", BAD, Const(0)),
        Unary("lnot", BAD),
    ):
        assert evaluate(expr, REGS, MEMORY.read, 1) is Outcome.UNDECIDED


def test_logic_gives_0_or_1() -> None:
    assert run(Logic("and", Const(7), Const(9))) == 1
    assert run(Logic("or", Const(0), Const(9))) == 1
    assert run(Logic("or", Const(0), Const(0))) == 0


def test_the_first_fault_in_order_is_told() -> None:
    with pytest.raises(Undecided) as caught:
        run(Binary("add", Load(Const(5), 1), Binary("udiv", Const(1), Const(0))))
    assert caught.value.address == 5


def test_outcomes() -> None:
    assert evaluate(Hits(), REGS, MEMORY.read, 3) is Outcome.MATCH
    assert evaluate(Const(0), REGS, MEMORY.read, 3) is Outcome.REJECT
    assert evaluate(BAD, REGS, MEMORY.read, 3) is Outcome.UNDECIDED
    assert [int(outcome) for outcome in Outcome] == [0, 1, 2]


def test_nodes_refuse_nonsense() -> None:
    for make in (
        lambda: Const(-1),
        lambda: Const(1 << 64),
        lambda: ir.Reg(27),
        lambda: Load(Const(0), 3),  # type: ignore[arg-type]
        lambda: Unary("abs", Const(0)),  # type: ignore[arg-type]
        lambda: Binary("pow", Const(0), Const(0)),  # type: ignore[arg-type]
        lambda: Logic("xor", Const(0), Const(0)),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match=r"no|not"):
            make()


def test_balanced_chains() -> None:
    terms: list[Expr] = [Binary("eq", Hits(), Const(n)) for n in range(2000)]
    either = ir.any_of(terms)
    assert ir.measure(either) == (13, 2000 * 3 + 1999)
    assert run(either, hits=1999) == 1
    assert run(either, hits=2000) == 0
    assert run(ir.all_of([])) == 1
    assert run(ir.any_of([])) == 0
    assert ir.all_of(terms[:1]) is terms[0]
    assert run(ir.any_of([Const(0), Const(1), BAD])) == 1
    assert run(ir.all_of([Const(1), Const(0), BAD])) == 0


def test_check_limits() -> None:
    deep: Expr = const(1)
    for _ in range(ir.MAX_DEPTH - 1):
        deep = Unary("neg", deep)
    ir.check(deep)
    with pytest.raises(ValueError, match="levels deep"):
        ir.check(Unary("neg", deep))
    large: Expr = const(1)
    for _ in range(16):
        large = Binary("add", large, large)
    with pytest.raises(ValueError, match="operations"):
        ir.check(large)


@given(expr=conditions(), state=states())
def test_properties(expr: Expr, state: State) -> None:
    outcome = evaluate(expr, state.regs, state.memory.read, state.hits)
    if ir.always_decided(expr):
        assert outcome is not Outcome.UNDECIDED
    if outcome is not Outcome.UNDECIDED:
        word = value(expr, state.regs, state.memory.read, state.hits)
        assert 0 <= word <= WORD_MASK
        assert (word != 0) == (outcome is Outcome.MATCH)
        if ir.is_boolean(expr):
            assert word in (0, 1)


def test_random_triples_have_all_outcomes() -> None:
    """A generator that yields only one outcome would make every equivalence test hollow."""
    seen = dict.fromkeys(Outcome, 0)
    for expr, state in triples(2000):
        seen[evaluate(expr, state.regs, state.memory.read, state.hits)] += 1
    assert min(seen.values()) > 200, seen
