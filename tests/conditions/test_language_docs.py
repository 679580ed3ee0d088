"""docs/conditions.md says what is so."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from relive.arch.x86_64_parts import PARTS
from relive.conditions import building, ir, language, naming, values
from relive.conditions.errors import ParseError
from relive.conditions.language import parse
from relive.live.names import ANYTHING

PAGE = (Path(__file__).parents[2] / "docs" / "conditions.md").read_text()


def blocks() -> list[str]:
    return re.findall(r"```\n(.*?)```", PAGE, re.DOTALL)


def test_examples_parse() -> None:
    plain, of_c, faults = (block.splitlines() for block in blocks()[:3])
    assert (len(plain), len(of_c), len(faults)) == (3, 5, 2)
    for line in plain + faults:
        parse(re.split(r"   +", line)[0])
    for line in of_c:
        parse(re.split(r"   +", line)[0], ANYTHING)


def test_the_error_is_shown_as_it_is() -> None:
    shown = next(block for block in blocks() if block.startswith("column"))
    with pytest.raises(ParseError) as caught:
        parse("rdi and rax > -1")
    assert str(caught.value) == shown.rstrip("\n")


def test_every_register_is_named() -> None:
    table = PAGE[PAGE.index("**Registers.**") : PAGE.index("**Memory.**")]
    named = set(re.findall(r"`(\w+)`", table))
    for number in range(8, 16):
        named |= {f"r{number}{suffix}" for suffix in ("", "d", "w", "b")}
    assert named == set(PARTS)


def test_every_operation_is_named() -> None:
    for name in (*ir.BINARY_OPS, *ir.UNARY_OPS, *ir.LOGIC_OPS):
        assert re.search(rf"\b{name}\b", PAGE[PAGE.index("## The intermediate form") :]), name
    assert f"{language.MAX_TEXT:,}".replace(",", " ") in PAGE
    assert f"{ir.MAX_NODES:,}".replace(",", " ") in PAGE
    assert f"{ir.MAX_DEPTH} levels" in PAGE


def messages() -> list[str]:
    """The constant beginnings or ends of what the parser says, from its source."""
    found = []
    for module in (language, naming, building, values):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            place = {"fault": 1, "fault_at": 2, "SignError": 0, "OverflowError": 0}.get(name)
            if place is None or len(node.args) <= place:
                continue
            what = node.args[place]
            if isinstance(what, ast.JoinedStr):
                texts = [p.value for p in what.values if isinstance(p, ast.Constant)]
                found.append(max(map(str, texts), key=len).strip())
            elif isinstance(what, ast.Constant) and isinstance(what.value, str):
                found.append(what.value)
    return found


def test_every_error_is_explained() -> None:
    section = PAGE[PAGE.index("## Errors") : PAGE.index("## From Python")]
    said = re.sub(r"[`\\]", "", section)
    texts = messages()
    assert len(texts) > 35
    missing = []
    for text in texts:
        short = re.sub(r"[`\\]", "", text)
        short = re.sub(r" (in a condition|here)$", "", short).removeprefix("the condition ")
        if short.strip(" :") not in said:
            missing.append(text)
    assert missing == []
