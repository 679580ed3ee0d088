"""C variables, fields and types in conditions mean what the program itself prints of them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from relive import live
from relive.conditions.errors import ConditionError, ParseError
from tests.live.compiled import build, compiler, printed, stopped
from tests.live.targets import EVALUATORS, run_under


@pytest.mark.limit(120)
@pytest.mark.parametrize("version", ["-gdwarf-4", "-gdwarf-5"])
@pytest.mark.parametrize("level", ["-O0", "-Og", "-O2"])
@pytest.mark.parametrize("cc", ["gcc", "clang"])
def test_every_kind_of_variable(cc: str, level: str, version: str, tmp_path: Path) -> None:
    for kind in (("-fPIE", "-pie"), ("-fno-pie", "-no-pie")):
        program = build(tmp_path, "variables.c", compiler(cc), "-g", version, level, *kind)
        values = printed([program])
        del values["ended"]
        assert len(values) > 90
        missing = []
        with stopped([program], "here") as there:
            for text, value in values.items():
                try:
                    assert (text, there.value(text)) == (text, value)
                except ConditionError as error:
                    assert re.search("optimised out|can't be read here", error.message), error
                    missing.append(text)
        # Optimised code may have lost some, but not those that it prints afterwards.
        assert len(missing) <= (0 if level == "-O0" else 7), missing


AT_ENTRY = {
    "count": -2,
    "by_value.first": -7,
    "by_value.second": 8,
    "letter": ord("z"),
    "on_stack.words[2]": -3,
    "u": 65535,
    "node.value": 500,
    "yes": 1,
    "sixth": 1 << 40,
    "seventh": -7,
    "color": 70,
    "color == BLUE": 1,
}


@pytest.mark.parametrize("version", ["-gdwarf-4", "-gdwarf-5"])
@pytest.mark.parametrize("level", ["-O0", "-O2"])
@pytest.mark.parametrize("cc", ["gcc", "clang"])
def test_parameters_before_the_first_instruction(
    cc: str, level: str, version: str, tmp_path: Path
) -> None:
    """Unoptimised code describes where it will have stored them."""
    program = build(tmp_path, "variables.c", compiler(cc), "-g", version, level)
    with stopped([program], "at_entry") as there:
        for text, value in AT_ENTRY.items():
            try:
                assert (text, there.value(text)) == (text, value)
            except ParseError as error:
                # clang loses what it finds out to be the same at every call
                assert (cc, level) == ("clang", "-O2") and "optimised out" in error.what
        with pytest.raises(ParseError, match=r"vector register|xmm0|a float|optimised out"):
            there.value("f")


def test_nothing_is_taken_for_set_up_in_a_prologue(tmp_path: Path) -> None:
    for cc in ("gcc", "clang"):
        program = build(tmp_path, "variables.c", compiler(cc), "-g", "-O0")
        with stopped([program], "work") as there, pytest.raises(ParseError) as caught:
            there.value("doubled + 1")
        assert caught.value.column == 0
        assert re.search(r"unknown name|not set up yet .* begins at work\+0x", str(caught.value))
        with stopped([program], "work") as there:
            # of the outermost block
            with pytest.raises(ParseError, match=r"sum is not set up yet .* work\+0x"):
                there.value("sum")
            assert there.value("count") == -1
        with stopped([program], "work+1") as there:
            with pytest.raises(ParseError, match=r"count is not set up yet"):
                there.value("count")
            assert there.value("counter") == -5
            assert there.value("calls") == 40


@pytest.mark.limit(150)
@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_every_evaluator_has_the_same_values(evaluator: live.EvaluatorName, tmp_path: Path) -> None:
    if evaluator in ("uprobe", "kernel") and os.geteuid() != 0:
        pytest.skip(f"{evaluator} needs root here")
    for level in ("-O0", "-O2"):
        program = build(tmp_path, "variables.c", "gcc", "-g", level)
        values = printed([program])
        del values["ended"]
        if evaluator in ("uprobe", "kernel"):  # BPF programs don't see where a thread's are
            values = {text: value for text, value in values.items() if "thread" not in text}
        texts = []
        with stopped([program], "here") as there:
            for text in values:
                try:
                    there.value(text)
                except ConditionError:
                    continue  # of optimised code; another test says which
                texts.append(text)
        requests = []
        for start in range(0, len(texts), 8):
            some = tuple(texts[start : start + 8])
            terms = [f"i64({text}) == {values[text]}" for text in some]
            for when in (" and ".join(terms), f"not ({' and '.join(terms)})"):
                requests.append((some, live.Request("here", when, live.collect(*some), evaluator)))
        for some, request in requests:
            ran = run_under(tmp_path, [program], [request])
            counts = ran.counts[0]
            assert (counts.hits, counts.undecided) == (1, 0)
            assert counts.candidates == (0 if request.when.startswith("not") else 1), some
            got = [one.values for one in ran.records]
            expected = tuple(values[text] & (1 << 64) - 1 for text in some)
            assert got == ([expected] if counts.candidates else [])
