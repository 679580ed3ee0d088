"""Printing conditions, and reading them again."""

from __future__ import annotations

import pytest
from hypothesis import given

from relive.conditions import ir
from relive.conditions.ir import Expr
from relive.conditions.language import parse
from relive.conditions.printing import to_text
from tests.conditions.strategies import LONG, conditions, leaves, triples

ALL_REGISTERS = range(ir.N_REGISTERS)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("eax == 5 and rdi > 0", "eax == 5 and 0 < rdi"),
        ("rdi > 1 << 20", "0x100000 < rdi"),
        ("i64(rax) < -1", "i64(rax) < -1"),
        ("i32(eax) == -1", "i32(eax) == -1"),
        ("rax & ~0xf", "rax & -16"),
        ("u8[rsi + 1] != ah", "u8[rsi + 1] != ah"),
        ("1 <= rax < 5", "1 <= rax and rax < 5"),
        ("rax in (1, 2, 3)", "rax == 1 or rax == 2 or rax == 3"),
        ("a if hits else 2", ""),
        ("(rbx if hits else 2) + 1", "(rbx if hits else 2) + 1"),
        ("not (rax or rbx)", "not (rax or rbx)"),
        ("not rax or rbx", "not rax or rbx"),
        ("rax - (rbx - rcx) - 1", "rax - (rbx - rcx) - 1"),
        ("-(rax + 1) * ~rbx", "-(rax + 1) * ~rbx"),
        ("i16[rsp] >> 3 >> rcx", "i16[rsp] >> 3 >> rcx"),
        ("i64(rax) // 7 % 3", "i64(rax) // 7 % 3"),
        ("rflags & 0x40", "eflags & 64"),
        ("u32(rax + rbx)", "u32(rax + rbx)"),
        ("(rax == rbx) == rcx", "(rax == rbx) == rcx"),
    ],
)
def test_readable(text: str, printed: str) -> None:
    if printed:
        assert to_text(parse(text)) == printed


def same_tree(expr: Expr) -> None:
    text = to_text(expr)
    again = parse(text)
    assert again == expr, f"{text}\n{expr}\n{again}"


@given(expr=conditions(ALL_REGISTERS))
def test_the_same_tree_comes_back(expr: Expr) -> None:
    same_tree(expr)


@pytest.mark.limit(600)
def test_the_same_tree_comes_back_many() -> None:
    for expr, _ in triples(100_000 if LONG else 3_000, seed=21, registers=ALL_REGISTERS):
        same_tree(expr)


@given(a=leaves(), b=leaves())
def test_pairs_of_leaves(a: Expr, b: Expr) -> None:
    for op in ir.BINARY_OPS:
        for left in (a, ir.Load(a, 4, signed=True), ir.Load(a, 1)):
            same_tree(ir.Binary(op, left, b))
            same_tree(ir.Binary(op, b, left))
            same_tree(ir.Select(b, left, a))


def test_a_long_chain_is_flat() -> None:
    chain = ir.all_of([ir.Binary("eq", ir.Reg(n % 27), ir.Const(n)) for n in range(500)])
    text = to_text(chain)
    assert "(" not in text
    same_tree(chain)
