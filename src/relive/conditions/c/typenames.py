"""Types as people write them: 'struct node *', 'unsigned long', 'uint8_t[4]'."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from relive.conditions.errors import ConditionError
from relive.symbols.dwarf.types import Base, CType, Encoding, Void

_KEYWORDS: Final = ("struct", "union", "class", "enum")
_QUALIFIERS: Final = frozenset(("const", "volatile", "restrict", "_Atomic"))
_INTEGERS: Final = frozenset(("signed", "unsigned", "char", "short", "int", "long"))
_TYPE: Final = re.compile(
    r"(?P<name>[^*\[\]&]+?)\s*(?P<stars>(?:\*\s*)*)(?P<bounds>(?:\[\d+\]\s*)*)"
)

_FIXED: Final[dict[str, tuple[int, Encoding]]] = {
    **{f"int{8 * n}_t": (n, "signed") for n in (1, 2, 4, 8)},
    **{f"uint{8 * n}_t": (n, "unsigned") for n in (1, 2, 4, 8)},
    **{f"i{8 * n}": (n, "signed") for n in (1, 2, 4, 8)},
    **{f"u{8 * n}": (n, "unsigned") for n in (1, 2, 4, 8)},
    "size_t": (8, "unsigned"), "ssize_t": (8, "signed"), "ptrdiff_t": (8, "signed"),
    "uintptr_t": (8, "unsigned"), "intptr_t": (8, "signed"), "bool": (1, "bool"),
    "_Bool": (1, "bool"), "float": (4, "float"), "double": (8, "float"),
}  # fmt: skip
"""Known without debugging information (System V ABI, AMD64 supplement, figure 3.1)."""


@dataclass(frozen=True, slots=True)
class TypeName:
    """A type as it is written.

    name: without what stands around it.  kind: struct, union, class, enum or "".
    stars: how many * follow.  bounds: of arrays, outermost first.
    """

    name: str
    kind: str
    stars: int
    bounds: tuple[int, ...]


def parse(text: str) -> TypeName:
    """Take the name of a type apart.  Raises ConditionError."""
    found = _TYPE.fullmatch(text.strip())
    words = found["name"].split() if found else []
    words = [word for word in words if word not in _QUALIFIERS]
    kind = words.pop(0) if words and words[0] in _KEYWORDS else ""
    if found is None or not words:
        raise ConditionError(
            f"'{text}' is not understood as a type",
            "write 'int', 'struct name', 'struct name *', 'unsigned char[4]'",
        )
    bounds = tuple(int(bound) for bound in re.findall(r"\d+", found["bounds"]))
    return TypeName(" ".join(words), kind, found["stars"].count("*"), bounds)


def builtin(name: str) -> CType | None:
    """A type that needs no debugging information, or None."""
    if name == "void":
        return Void()
    words = name.split()
    if words and _INTEGERS.issuperset(words):
        signed: Encoding = "unsigned" if "unsigned" in words else "signed"
        size = 4
        if "char" in words:
            size = 1
        elif "short" in words:
            size = 2
        elif "long" in words:
            size = 8
        return Base(name, size, signed)
    return None


def fixed(name: str) -> CType | None:
    """A type of the standard headers whose size is known, or None."""
    known = _FIXED.get(name)
    return None if known is None else Base(name, *known)
