"""Encodes the table as C for the core: ``table_data.inc``, which ``table.c`` includes.

Run at build time, before relive is installed and with nothing but the
standard library: ``python3 src/relive/syscalls/encode.py OUTPUT``.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # Run as a script: this directory is on the path, and its fcntl.py would hide the standard
    # one; and the package is not importable as relive yet.  Give it just enough of a parent.
    import types
    from pathlib import Path

    _HERE = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != _HERE]
    _PARENT = types.ModuleType("relive")
    _PARENT.__path__ = [str(_HERE.parent)]
    sys.modules["relive"] = _PARENT

import hashlib
from pathlib import Path

from relive.syscalls.model import MAX_ARGS, MAX_NR, Arg, Facts, Variant
from relive.syscalls.table import by_number

_UNKNOWN = "UINT32_MAX"


def _encode_arg(arg: Arg) -> str:
    return f"{{{arg.kind:d}, {arg.rule:d}, {arg.size_arg}, {arg.when:d}, {arg.elem}}}"


def _encode_facts(nr: int, facts: Facts) -> str:
    args = ", ".join(_encode_arg(arg) for arg in facts.args) or "{0, 0, 0, 0, 0}"
    return f"{{{nr}, {facts.flags:#06x}, {facts.refuse}, {len(facts.args)}, 0, {{{args}}}}}"


def _numbers(name: str, values: list[str]) -> list[str]:
    lines = [f"static const uint32_t {name}[CALL_MAX_NR] = {{"]
    for start in range(0, len(values), 16):
        lines.append("    " + " ".join(f"{value}," for value in values[start : start + 16]))
    return [*lines, "};"]


def encode() -> str:
    """The table as the text of a C file that defines ``relive_calls`` (see ``table.h``).

    Descriptions that come out equal are written once.
    """
    descs: dict[str, int] = {}
    comments: list[str] = []

    def index_of(nr: int, facts: Facts) -> int:
        text = _encode_facts(nr, facts)
        if text not in descs:
            descs[text] = len(descs)
            comments.append(facts.label)
        return descs[text]

    by_nr = [_UNKNOWN] * MAX_NR
    first = ["0"] * MAX_NR
    count = ["0"] * MAX_NR
    variants: list[tuple[Variant, int]] = []
    for nr, call in by_number.items():
        by_nr[nr] = str(index_of(nr, call.facts))
        first[nr] = str(len(variants))
        count[nr] = str(len(call.variants))
        variants += [(variant, index_of(nr, variant.facts)) for variant in call.variants]

    lines = [
        "/* Generated from src/relive/syscalls/ by encode.py: do not edit. */",
        f"_Static_assert(CALL_MAX_NR == {MAX_NR} && CALL_MAX_ARGS == {MAX_ARGS},",
        '               "the Python table and table.h disagree");',
        "static const struct call_desc descs[] = {",
        *(f"    {text}, /* {name} */" for text, name in zip(descs, comments, strict=True)),
        "};",
        "static const struct call_variant variants[] = {",
        *(
            f"    {{{v.arg}, {{0, 0, 0}}, {v.mask:#x}, {v.value:#x}, {desc}}},"
            f" /* {v.facts.label} */"
            for v, desc in variants
        ),
        "};",
        *_numbers("desc_by_nr", by_nr),
        *_numbers("variant_first", first),
        *_numbers("variant_count", count),
        "const struct call_table relive_calls = {",
        f"    .n_descs = {len(descs)},",
        "    .descs = descs,",
        "    .by_nr = desc_by_nr,",
        "    .variant_first = variant_first,",
        "    .variant_count = variant_count,",
        "    .variants = variants,",
        "};",
    ]
    return "\n".join(lines) + "\n"


def digest() -> str:
    """BLAKE2b-128 of the encoding, in hexadecimal: tells two tables apart."""
    return hashlib.blake2b(encode().encode(), digest_size=16).hexdigest()


def main(argv: list[str]) -> int:
    """Writes the encoding to the file named by the only argument; the exit status."""
    if len(argv) != 2:
        print("usage: encode.py OUTPUT", file=sys.stderr)
        return 2
    Path(argv[1]).write_text(encode(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
