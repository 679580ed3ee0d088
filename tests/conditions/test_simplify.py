"""Simplified conditions against what they were made from."""

from __future__ import annotations

import pytest
from hypothesis import given

from relive.conditions import ir
from relive.conditions.ir import Expr
from relive.conditions.language import parse
from relive.conditions.printing import to_text
from relive.conditions.reference import Undecided, evaluate, value
from relive.conditions.simplify import simplify, simplify_value
from tests.conditions.strategies import (
    LONG,
    Generator,
    State,
    conditions,
    states,
    triples,
)


@pytest.mark.parametrize(
    ("text", "simple"),
    [
        ("rax + 0", "rax"),
        ("rax + 1 + 2 - 3", "rax"),
        ("8 + rax + 8", "rax + 16"),
        ("rax - 1 == 4", "rax == 5"),
        ("rax - rbx == 0", "rax == rbx"),
        ("rax ^ rbx", "rax != rbx"),
        ("not (rax == 1)", "rax != 1"),
        ("not (rax < rbx)", "rbx <= rax"),
        ("rax != 0", "rax"),
        ("(rax == 1) == 1", "rax == 1"),
        ("(rax == 1) != True", "rax != 1"),
        ("rax == 0", "not rax"),
        ("not not rax", "rax"),
        ("rax < 1", "not rax"),
        ("rax > 0", "rax"),
        ("rax >= 0", "1"),
        ("rax * 0", "0"),
        ("u8[rax] * 0", "u8[rax] * 0"),
        ("u8[rax] and 0", "u8[rax] and 0"),
        ("0 and u8[rax]", "0"),
        ("1 or u8[rax]", "1"),
        ("rax == 1 and (5 if 1 else u8[0])", "rax == 1"),
        ("u8[rax] == u8[rax]", "u8[rax] == u8[rax]"),
        ("rax == rax", "1"),
        ("rax // 8", "rax >> 3"),
        ("rax % 8", "rax & 7"),
        ("i64(rax) // 8", "i64(rax) // 8"),
        ("u64(1) // u64(0)", "u64(1) // u64(0)"),
        ("u8(u32(u16(rax)))", "al"),
        ("i32(eax) < 0", "i32(rax) < 0"),
        ("i32(u32[rax]) < 0", "i32[rax] < 0"),
        ("u32(i32[rax]) == 5", "u32[rax] == 5"),
        ("i64(u32(i32[rax])) < 5", "i64(u32[rax]) < 5"),
        ("10 <= rax < 20", "rax + -10 < 10"),
        ("rax in range(10, 20)", "rax + -10 < 10"),
        ("rax in range(20)", "rax < 20"),
        ("10 < rax <= 20", "rax + -11 <= 9"),
        ("20 <= rax < 10", "20 <= rax and rax < 10"),
        ("rax and rax", "rax"),
        ("1 if rax else 0", "rax"),
        ("(0 if rax else 1) and rbx", "not rax and rbx"),
        ("5 if rax else 0", "rax"),
    ],
)
def test_shapes(text: str, simple: str) -> None:
    assert to_text(simplify(parse(text))) == simple


def outcome_is_kept(expr: Expr, simple: Expr, state: State) -> None:
    arguments = (state.regs, state.memory.read, state.hits)
    assert evaluate(simple, *arguments) is evaluate(expr, *arguments), to_text(expr)


def value_is_kept(expr: Expr, simple: Expr, state: State) -> None:
    arguments = (state.regs, state.memory.read, state.hits)
    try:
        expected = value(expr, *arguments)
    except Undecided:
        with pytest.raises(Undecided):
            value(simple, *arguments)
    else:
        assert value(simple, *arguments) == expected, to_text(expr)


def check(expr: Expr, state: State) -> None:
    simple, exact = simplify(expr), simplify_value(expr)
    outcome_is_kept(expr, simple, state)
    value_is_kept(expr, exact, state)
    # Never larger: a rule that undoes another would not end either.
    assert ir.measure(exact)[1] <= ir.measure(expr)[1]
    assert ir.measure(simple)[1] <= ir.measure(expr)[1]


@given(expr=conditions(), state=states())
def test_meaning_is_kept(expr: Expr, state: State) -> None:
    check(expr, state)


@pytest.mark.limit(600)
def test_meaning_is_kept_many() -> None:
    for expr, state in triples(120_000 if LONG else 5_000, seed=31):
        check(expr, state)


def related(generator: Generator) -> Expr:
    """Conditions as people write them: few leaves that recur, so that rules apply."""
    choose = generator.random.choice
    x: Expr = ir.reg("rax")
    if choose([True, False]):
        x = ir.Load(ir.reg("rsi"), choose(ir.SIZES), choose([True, False]))
    terms: list[Expr] = [x, x, ir.reg("rbx"), ir.FALSE, ir.TRUE, ir.Const(generator.word())]
    for _ in range(generator.random.randint(1, 6)):
        a, b = choose(terms), choose(terms)
        ways: list[Expr] = [
            ir.Unary(choose(ir.UNARY_OPS), a),
            ir.Binary(choose(ir.BINARY_OPS), a, b),
            ir.Binary(choose(ir.BINARY_OPS), a, ir.Const(generator.word())),
            ir.Binary(choose(ir.COMPARISON_OPS), ir.Const(generator.word()), a),
            ir.Binary("and", a, ir.Const(choose([0xFF, 0xFFFF, 0xFFFF_FFFF, 1, 2]))),
            ir.Binary("ashr", ir.Binary("shl", a, ir.Const(48)), ir.Const(48)),
            ir.Logic(choose(ir.LOGIC_OPS), a, b),
            ir.Select(a, b, choose(terms)),
        ]
        terms += [choose(ways)] * 2
    return terms[-1]


@pytest.mark.limit(600)
def test_meaning_is_kept_where_rules_apply() -> None:
    generator = Generator(seed=32)
    shorter = 0
    count = 120_000 if LONG else 5_000
    for _ in range(count):
        expr = related(generator)
        check(expr, generator.state())
        shorter += simplify(expr) != expr
    assert shorter > count / 2
