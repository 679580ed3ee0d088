"""Random structures: each member has the value that C gives it, by all evaluators."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from relive import live
from relive.conditions.errors import ConditionError
from tests.live.compiled import build, compiler, printed, stopped
from tests.live.targets import EVALUATORS, LONG, run_under

SCALARS = {
    "char": 8, "signed char": 8, "unsigned char": 8, "short": 16, "unsigned short": 16,
    "int": 32, "unsigned int": 32, "long": 64, "unsigned long": 64, "long long": 64,
    "enum e": 32, "byte_t": 8, "wide_t": 64,
}  # fmt: skip
UNREAD = ("float", "double", "long double", "void *")
"""Members that only take room."""


@dataclass
class Layout:
    """A structure being written.  leaves: names of members with whole numbers, as C has them."""

    lines: list[str] = field(default_factory=list)
    leaves: list[str] = field(default_factory=list)
    count: int = 0


def structure(rng: random.Random, layout: Layout, path: str, depth: int) -> None:
    """Add members; path: what is written in front of their names."""
    for _ in range(rng.randint(1, 5 if depth else 4)):
        layout.count += 1
        name = f"m{layout.count}"
        choice = rng.random()
        kind = rng.choice(list(SCALARS))
        if choice < 0.3:
            layout.lines.append(f"{kind} {name};")
            layout.leaves.append(path + name)
        elif choice < 0.6:
            kind = kind if kind in ("int", "unsigned int", "long", "unsigned long") else "int"
            width = rng.randint(1, SCALARS[kind])
            layout.lines.append(f"{kind} {name} : {width};")
            layout.leaves.append(path + name)
            if rng.random() < 0.1:
                layout.lines.append(f"{kind} : 0;")
        elif choice < 0.75:
            sizes = [rng.randint(1, 3) for _ in range(rng.randint(1, 2))]
            layout.lines.append(f"{kind} {name}{''.join(f'[{n}]' for n in sizes)};")
            layout.leaves.append(path + name + "".join(f"[{rng.randrange(n)}]" for n in sizes))
        elif choice < 0.82:
            layout.lines.append(f"{rng.choice(UNREAD)} {name};")
        elif depth < 2:
            kind = rng.choice(("struct", "union"))
            packed = " __attribute__((packed))" if rng.random() < 0.2 else ""
            named = rng.random() < 0.6
            array = rng.random() < 0.3 and named
            inner = f"{path}{name}{'[1]' if array else ''}." if named else path
            layout.lines.append(f"{kind}{packed} {{")
            structure(rng, layout, inner, depth + 1)
            layout.lines.append(f"}} {name + ('[2]' if array else '') if named else ''};")


def source(seed: int) -> tuple[str, list[str]]:
    """A program, and its expressions."""
    rng = random.Random(seed)
    layout = Layout()
    structure(rng, layout, "", 0)
    packed = " __attribute__((packed))" if rng.random() < 0.3 else ""
    data = ", ".join(str(rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))) for _ in range(977))
    expressions = []
    for leaf in layout.leaves:
        expressions += [(f"{whole}.{leaf}", f"{c}{leaf}") for whole, c in WHOLES]
    fillers = ", ".join(
        f"{kind} f{n}" for n, kind in enumerate(rng.choices(PARAMETERS, k=rng.randint(0, 7)))
    )
    arguments = "".join(f", {n}" for n in range(fillers.count(" f")))
    shows = "\n".join(
        f'    printf("{text}=%lld\\n", (long long)({value}));' for text, value in expressions
    )
    return (
        f"""
#include <stdio.h>
#include <string.h>
enum e {{ A = -5, B, C = 1000000 }};
typedef unsigned char byte_t;
typedef const volatile long wide_t;
typedef struct{packed} s {{
{chr(10).join(layout.lines)}
}} s_t;
static const unsigned char bytes[977] = {{ {data} }};
static s_t all[3];
static s_t *pointer = &all[1];
static s_t *first(s_t *p) {{ return p; }}
__attribute__((noinline)) void site(s_t *p{", " + fillers if fillers else ""}, s_t copy)
{{
{shows}
}}
int main(void)
{{
    for (unsigned n = 0; n < sizeof(all); n++)
        ((unsigned char *)all)[n] = bytes[n * 7 % 977];
    site(first(&all[0]){arguments}, all[2]);
    return pointer == NULL;
}}
""",
        [text for text, _ in expressions],
    )


WHOLES = (("p", "p->"), ("copy", "copy."), ("all[1]", "all[1]."), ("pointer", "pointer->"))
PARAMETERS = ("int", "long", "double", "char", "unsigned short")


@pytest.mark.limit(600 if LONG else 200)
@settings(
    max_examples=150 if LONG else 12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.reuse, Phase.generate),  # a smaller seed is no smaller program
)
@given(st.integers(0, 1 << 32), st.sampled_from(("gcc", "clang")), st.sampled_from(("4", "5")))
def test_random_structures(
    tmp_path_factory: pytest.TempPathFactory, seed: int, cc: str, version: str
) -> None:
    directory = tmp_path_factory.mktemp("layout")
    text, expressions = source(seed)
    path = Path(directory / "layout.c")
    path.write_text(text)
    flags = ("-g", f"-gdwarf-{version}")
    program = build(directory, path, compiler(cc), *flags, "-w", "-O0")
    values = printed([program])
    assert set(expressions) == set(values)
    usable = []
    with stopped([program], "site") as there:
        for name in values:
            try:
                found = there.value(name)
            except ConditionError as error:
                # by value, in part in vector registers
                assert name.startswith("copy.") and "vector register" in error.message, error
                continue
            assert (name, found) == (name, values[name])
            usable.append(name)
    chosen = tuple(usable[:: max(1, len(usable) // 8)][:8])
    for evaluator in EVALUATORS if chosen else ():
        if evaluator in ("uprobe", "kernel") and os.geteuid() != 0:
            continue
        requests = [live.Request("site", "", live.collect(*chosen), evaluator)]
        try:
            ran = run_under(directory, [program], requests)
        except live.CannotArm:
            assert evaluator == "uprobe"  # the instruction is not one that the kernel emulates
            continue
        expected = tuple(values[name] & (1 << 64) - 1 for name in chosen)
        assert [record.values for record in ran.records] == [expected]
