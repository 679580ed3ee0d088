"""Which entries of a unit are outside of functions, without taking the entries apart.

Names of parameters and local variables are many; whoever looks for a global one has to tell them
apart, quickly.  Source of the forms: DWARF 5, section 7.5.6.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from elftools.dwarf.compileunit import CompileUnit

_FUNCTIONS: Final = frozenset((
    "DW_TAG_subprogram", "DW_TAG_inlined_subroutine", "DW_TAG_lexical_block", "DW_TAG_entry_point",
    "DW_TAG_subroutine_type", "DW_TAG_call_site", "DW_TAG_GNU_call_site",
))  # fmt: skip
_FIXED: Final = {
    **dict.fromkeys(("data1", "ref1", "flag", "strx1", "addrx1"), 1),
    **dict.fromkeys(("data2", "ref2", "strx2", "addrx2"), 2),
    **dict.fromkeys(("strx3", "addrx3"), 3),
    **dict.fromkeys(("data4", "ref4", "strx4", "addrx4", "ref_sup4"), 4),
    **dict.fromkeys(("data8", "ref8", "ref_sig8", "ref_sup8", "addr"), 8),
    **dict.fromkeys(("flag_present", "implicit_const"), 0),
    "data16": 16,
}
_OFFSETS: Final = frozenset((
    "strp", "sec_offset", "ref_addr", "line_strp", "strp_sup", "GNU_strp_alt", "GNU_ref_alt",
))  # fmt: skip
_LEB, _BLOCK1, _BLOCK2, _BLOCK4, _BLOCK, _STRING, _UNKNOWN = range(-1, -8, -1)
_VARIABLE: Final = {
    **dict.fromkeys(
        ("udata", "sdata", "ref_udata", "strx", "addrx", "loclistx", "rnglistx",
         "GNU_addr_index", "GNU_str_index"), _LEB
    ),
    "block1": _BLOCK1, "block2": _BLOCK2, "block4": _BLOCK4,
    "block": _BLOCK, "exprloc": _BLOCK, "string": _STRING,
}  # fmt: skip


class Plan(NamedTuple):
    """What an abbreviation says.

    steps: how to get past the attributes: bytes, or one of the codes above (less than 0).
    sibling: bytes behind the number where a reference to the next entry is, and its size; or None.
    name: bytes behind the number where the name is, and its form; None when it has no name, or that
    is not at the same place in all entries.
    """

    tag: str
    children: bool
    steps: tuple[int, ...]
    sibling: tuple[int, int] | None
    name: tuple[int, str] | None


def plans(data: bytes, offset: int, wide: bool) -> dict[int, Plan]:
    """How to read entries, by abbreviation: the table at an offset of .debug_abbrev (`data`).

    wide: the unit's offsets take 8 bytes.  Raises IndexError or ValueError when it is damaged.
    """
    tags, attributes, forms = _enumerations()
    found: dict[int, Plan] = {}
    at = offset
    while at < len(data):
        code, at = leb(data, at)
        if not code:
            break
        tag, at = leb(data, at)
        children = bool(data[at])
        at += 1
        steps: list[int] = []
        sibling = name = None
        while True:
            attribute, at = leb(data, at)
            number, at = leb(data, at)
            if not attribute and not number:
                break
            form = forms.get(number, "")
            if form == "implicit_const":
                while data[at] & 0x80:
                    at += 1
                at += 1
            size = (8 if wide else 4) if form in _OFFSETS else _FIXED.get(form)
            fixed = sum(steps) if all(step >= 0 for step in steps) else None
            if fixed is not None and attributes.get(attribute) == "DW_AT_name":
                name = (fixed, f"DW_FORM_{form}")
            if size is None:
                steps.append(_VARIABLE.get(form, _UNKNOWN))
                continue
            if fixed is not None and attributes.get(attribute) == "DW_AT_sibling":
                sibling = (fixed, size)
            if steps and steps[-1] >= 0:
                steps[-1] += size
            else:
                steps.append(size)
        found[code] = Plan(tags.get(tag, ""), children, tuple(steps), sibling, name)
    return found


@cache
def _enumerations() -> tuple[dict[int, str], dict[int, str], dict[int, str]]:
    """Tags, attributes and forms (without DW_FORM_) by number."""
    from elftools.dwarf.enums import ENUM_DW_AT, ENUM_DW_FORM, ENUM_DW_TAG

    tags = {number: name for name, number in ENUM_DW_TAG.items() if isinstance(number, int)}
    attributes = {n: name for name, n in ENUM_DW_AT.items() if isinstance(n, int)}
    forms = {
        n: name.removeprefix("DW_FORM_") for name, n in ENUM_DW_FORM.items() if isinstance(n, int)
    }
    return tags, attributes, forms


def outside_of_functions(
    data: bytes, unit: CompileUnit, known: dict[int, Plan], wanted: frozenset[str]
) -> set[int]:
    """Offsets in .debug_info (`data`) of a unit's entries with these tags, outside of functions.

    Raises IndexError, KeyError or ValueError for what is damaged or not known.
    """
    found: set[int] = set()
    at, start, end = unit.cu_die_offset, unit.cu_offset, unit.cu_offset + unit.size
    depth = 0
    function = 0  # the depth inside of one, 0 for none
    while at < end:
        entry = at
        code = data[at]
        at += 1
        if code >= 0x80:
            code, at = leb(data, entry)
        if not code:
            depth -= 1
            if depth < function:
                function = 0
            if depth <= 0:
                break
            continue
        plan = known[code]
        if not function and plan.tag in wanted:
            found.add(entry)
        if plan.children and plan.tag in _FUNCTIONS and plan.sibling is not None:
            place, size = plan.sibling
            at = start + int.from_bytes(data[at + place : at + place + size], "little")
            if at <= entry:
                raise ValueError("a sibling that comes before")
            continue
        for step in plan.steps:
            at = at + step if step >= 0 else _past(data, at, step)
        if plan.children:
            depth += 1
            if not function and plan.tag in _FUNCTIONS:
                function = depth
    return found


def _past(data: bytes, at: int, step: int) -> int:
    if step == _LEB:
        while data[at] & 0x80:
            at += 1
        return at + 1
    if step == _STRING:
        return data.index(b"\0", at) + 1
    if step == _BLOCK:
        size, at = leb(data, at)
        return at + size
    if step == _UNKNOWN:
        raise ValueError("a form that is not known")
    width = {_BLOCK1: 1, _BLOCK2: 2, _BLOCK4: 4}[step]
    return at + width + int.from_bytes(data[at : at + width], "little")


def leb(data: bytes, at: int) -> tuple[int, int]:
    """A ULEB128 number, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at
