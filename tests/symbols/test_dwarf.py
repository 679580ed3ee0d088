"""Entries are found by name and by address as pyelftools finds them one by one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relive.symbols import cache
from relive.symbols.dwarf import dies, skim
from relive.symbols.dwarf.info import _NAMED, DebugInfo
from relive.symbols.dwarf.scopes import Scopes

PROGRAMS = Path(__file__).parents[1] / "live" / "programs"
CPP = """
#include <string>
#include <vector>
namespace outer { namespace { int hidden = 3; }
struct Nested { enum Kind { ONE, TWO }; static int made;
struct Inner { int x; }; }; int Nested::made = 4; }
int main() { struct Local { int y; } l{outer::hidden}; std::vector<std::string> v(3);
return l.y + (int)v.size() + outer::Nested::TWO + outer::Nested::made; }
"""


def compiled(directory: Path, cc: str, *options: str) -> DebugInfo:
    source = PROGRAMS / "scopes.c"
    if cc.endswith("++"):
        source = directory / "program.cpp"
        source.write_text(CPP)
    command = next((one for one in (cc, f"{cc}-14") if shutil.which(one)), None)
    if command is None:
        pytest.skip(f"{cc} is not installed")
    made = directory / "program"
    subprocess.run([command, "-w", "-g", *options, "-o", made, source], check=True, timeout=60)
    info = cache.load(made).debug_info
    assert info is not None
    return info


def walked(die: Any, inside: bool = False) -> Iterator[tuple[Any, bool]]:
    """All entries, and whether they are inside of a function."""
    for child in die.iter_children():
        function = inside or child.tag in skim._FUNCTIONS
        yield child, inside
        yield from walked(child, function)


WAYS = [
    ("gcc", "-O0", "-gdwarf-4"),
    ("gcc", "-O2", "-gdwarf-5"),
    ("gcc", "-O2", "-gdwarf-5", "-gdwarf64"),
    ("clang", "-O2", "-gdwarf-4"),
    ("clang", "-O1", "-gdwarf-5"),
    ("g++", "-O1", "-gdwarf-5"),
]


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_names_outside_of_functions(way: tuple[str, ...], tmp_path: Path) -> None:
    info = compiled(tmp_path, *way)
    checked = 0
    for unit in info.units:
        entries = list(walked(unit.get_top_DIE()))
        outside = {die.offset for die, inside in entries if not inside and die.tag in _NAMED}
        assert info._outside(unit) == outside
        named = [die for die, inside in entries if not inside and die.tag in _NAMED]
        for die in named[:: 1 + len(named) // 300]:
            name = die.attributes.get("DW_AT_name")
            if name is None:
                continue
            found = info.named(dies.text(name.value))
            assert die.offset in {one.offset for one in found}, (die.tag, name.value)
            checked += 1
        # A string that happens to be in the file is no name.
        assert info.named("nosuchname") == []
        for die in (die for die, inside in entries if inside and "DW_AT_name" in die.attributes):
            name = dies.text(die.attributes["DW_AT_name"].value)
            assert die.offset not in {one.offset for one in info.named(name)}
    assert checked > 15


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_functions_by_address(way: tuple[str, ...], tmp_path: Path) -> None:
    info = compiled(tmp_path, *way)
    checked = 0
    for unit in info.units:
        for die, _ in walked(unit.get_top_DIE()):
            if die.tag != "DW_TAG_subprogram":
                continue
            for span in info.ranges(die):
                for vaddr in (span.start, span.end - 1):
                    scopes = Scopes(info, vaddr)
                    assert scopes.unit is unit
                    assert scopes.function is die
                    checked += 1
    assert checked >= 2
    assert Scopes(info, 0).chain == ()
