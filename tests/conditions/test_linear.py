"""The stack code against the reference evaluator."""

from __future__ import annotations

import pytest
from hypothesis import given

from relive.conditions import ir, linear, reference
from relive.conditions.ir import Binary, Const, Expr, Hits, Load, Logic, Outcome, Reg, Select, Unary
from tests.conditions.strategies import LONG, State, conditions, states, triples

A, B, C, D = (Reg(n) for n in range(4))


def same(expr: Expr, state: State) -> Outcome:
    """Both give the same value, or the same fault."""
    code = ir.linearize(expr)
    arguments = (state.regs, state.memory.read, state.hits)
    try:
        expected = reference.value(expr, *arguments)
    except reference.Undecided as fault:
        try:
            linear.value(code, *arguments)
        except reference.Undecided as also:
            assert (also.address, also.size) == (fault.address, fault.size)
        else:
            raise AssertionError("decided what the reference does not") from None
        return Outcome.UNDECIDED
    assert linear.value(code, *arguments) == expected
    return Outcome.MATCH if expected else Outcome.REJECT


def well_formed(expr: Expr) -> None:
    """What the docstring of `linearize` promises of the code."""
    code, max_depth = ir.linearize(expr)
    depths: dict[int, int] = {0: 0}
    pushes = {"const": 1, "reg": 1, "hits": 1}
    keeps = ("load", "neg", "not", "lnot", "bool", "jump")
    for here, (op, operand) in enumerate(code):
        assert here in depths, f"{here} can't be reached"
        before = depths[here]
        if op in ("jump_false", "jump_true"):
            after, at_target = before - 1, before
        elif op in ("branch_false", "branch_true"):
            after = at_target = before - 1
        else:
            after = at_target = before + pushes.get(op, 0 if op in keeps else -1)
        if "jump" in op or "branch" in op:
            assert here < operand <= len(code)
            assert depths.setdefault(operand, at_target) == at_target
        if op != "jump":
            assert depths.setdefault(here + 1, after) == after
        assert max(before, after, at_target) <= max_depth
        assert min(before, after) >= 0
    assert depths[len(code)] == 1
    assert max(depths.values()) == max_depth


def test_shapes() -> None:
    assert ir.linearize(Binary("sub", Load(A, 4, signed=True), Const(5))) == (
        (("reg", 0), ("load", -4), ("const", 5), ("sub", 0)),
        2,
    )
    assert ir.linearize(Logic("and", A, B)).code == (
        ("reg", 0),
        ("jump_false", 4),
        ("reg", 1),
        ("bool", 0),
    )
    # A comparison is 0 or 1 already.
    assert ir.linearize(Logic("or", A, Binary("eq", B, C))).code[-1] == ("eq", 0)
    assert ir.linearize(Select(A, Hits(), C)).code == (
        ("reg", 0),
        ("branch_false", 4),
        ("hits", 0),
        ("jump", 5),
        ("reg", 2),
    )


def test_jumps_that_land_on_jumps() -> None:
    both = Logic("and", Logic("and", A, B), Logic("and", C, D))
    assert ir.linearize(both).code == (
        ("reg", 0),
        ("jump_false", 8),
        ("reg", 1),
        ("jump_false", 8),
        ("reg", 2),
        ("jump_false", 8),
        ("reg", 3),
        ("bool", 0),
    )
    mixed = Logic("or", Logic("and", A, B), C)
    assert ir.linearize(mixed).code == (
        ("reg", 0),
        ("branch_false", 4),
        ("reg", 1),
        ("jump_true", 6),
        ("reg", 2),
        ("bool", 0),
    )
    chosen = Select(Logic("or", A, B), C, D)
    assert ir.linearize(chosen).code[1] == ("branch_true", 4)


def test_long_chain() -> None:
    chain = ir.all_of([Binary("eq", Load(Const(8 * n), 8), Const(n)) for n in range(3000)])
    code, max_depth = ir.linearize(chain)
    assert max_depth == 2
    assert {operand for op, operand in code if op == "jump_false"} == {len(code)}
    well_formed(chain)


def test_unary_of_logic() -> None:
    expr = Unary("lnot", Logic("and", A, Unary("neg", Logic("or", B, C))))
    well_formed(expr)


@given(expr=conditions(), state=states())
def test_equal_to_reference(expr: Expr, state: State) -> None:
    well_formed(expr)
    same(expr, state)


@pytest.mark.limit(600)
def test_equal_to_reference_many() -> None:
    for expr, state in triples(150_000 if LONG else 5_000, seed=11):
        same(expr, state)
