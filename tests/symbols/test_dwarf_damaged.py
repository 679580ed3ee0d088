"""Damaged debugging information is told, with the place in the condition; nothing worse."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from relive.conditions.c.names import SiteNames
from relive.conditions.errors import ParseError
from relive.conditions.language import parse
from relive.symbols.image import Image
from relive.symbols.process import Module, ProcessSymbols

SOURCE = Path(__file__).parents[1] / "live" / "programs" / "variables.c"
BIAS = 0x555555554000
TEXTS = (
    "count", "node.value", "node.next.numbers[1][2]", "doubled", "pair.second", "row[2]", "calls",
    "letter", "counter", "flags.minus", "tight.across", "where.named.inner", "list[1][2]", "nod",
    "sizeof(node_t)", "BLUE", "cast('struct node *', rdi).color", "var('work::calls')",
)  # fmt: skip


@pytest.mark.parametrize("options", [("-O2", "-gdwarf-5"), ("-O0", "-gdwarf-4")], ids=" ".join)
def test_damaged_sections(options: tuple[str, ...], tmp_path: Path) -> None:
    program = tmp_path / "program"
    subprocess.run(["gcc", "-g", *options, "-o", program, SOURCE], check=True, timeout=60)
    original = program.read_bytes()
    whole = Image(original, str(program))
    sections = [
        (offset, size)
        for name, (offset, size, _) in whole._sections.items()
        if name.startswith(".debug_") or name == ".eh_frame"
    ]
    places = [whole.symbols["here"][0].value, whole.symbols["work"][0].value]
    rng = random.Random(7)
    decided = refused = 0
    for _ in range(60):
        data = bytearray(original)
        for _ in range(rng.choice((1, 2, 5, 30))):
            offset, size = rng.choice(sections)
            data[offset + rng.randrange(size)] = rng.randrange(256)
        image = Image(bytes(data), str(program))
        symbols = ProcessSymbols(1)
        symbols.modules = [Module(image, BIAS, image.path, BIAS, BIAS + 0x100000, True)]
        for vaddr in (*places, places[1] + 3):
            for text in rng.sample(TEXTS, 4):
                try:
                    parse(text, SiteNames(symbols, BIAS + vaddr))
                    decided += 1
                except ParseError as error:
                    assert 0 <= error.column < len(text)
                    refused += 1
    assert decided > 100 and refused > 100
