"""Small things about debugging information entries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from elftools.dwarf.die import DIE
    from elftools.dwarf.dwarfinfo import DWARFInfo

NAMESPACES: Final = ("DW_TAG_namespace", "DW_TAG_module")
STRUCTURES: Final = ("DW_TAG_structure_type", "DW_TAG_class_type", "DW_TAG_union_type")
ANONYMOUS: Final = "(anonymous namespace)"
UNITS: Final = ("DW_TAG_compile_unit", "DW_TAG_partial_unit", "DW_TAG_type_unit")
_ORIGINS: Final = ("DW_AT_abstract_origin", "DW_AT_specification")
_FAR: Final = 16
"""Entries that refer to one another, at most."""


_type_units: WeakKeyDictionary[DWARFInfo, dict[int, int]] = WeakKeyDictionary()


def text(value: object) -> str:
    """A string attribute as text."""
    if isinstance(value, bytes):
        return value.decode(errors="surrogateescape")
    return str(value)


def own(die: DIE, attribute: str) -> Any:
    """The value of an attribute of the entry itself, or None."""
    found = die.attributes.get(attribute)
    return None if found is None else found.value


def origins(die: DIE) -> Iterator[DIE]:
    """The entry, and those that it completes (abstract origins, specifications)."""
    for _ in range(_FAR):
        yield die
        for attribute in _ORIGINS:
            if attribute in die.attributes:
                die = target(die, attribute)
                break
        else:
            return


def target(die: DIE, attribute: str) -> DIE:
    """What an attribute refers to."""
    found = die.attributes[attribute]
    info = die.cu.dwarfinfo
    if found.form == "DW_FORM_ref_sig8" and die.cu.header.version >= 5:
        units = _type_units.get(info)
        if units is None:  # by their signatures (DWARF 5, 7.5.1.3)
            units = _type_units[info] = {
                unit.header["type_signature"]: unit.cu_offset + unit.header["type_offset"]
                for unit in info.iter_CUs()
                if unit.header.get("unit_type") == "DW_UT_type"
            }
        return info.get_DIE_from_refaddr(units[found.raw_value])
    return die.get_DIE_from_attribute(attribute)


def has(die: DIE, attribute: str) -> DIE | None:
    """The entry with an attribute: this one, or the first of those that it completes."""
    for one in origins(die):
        if attribute in one.attributes:
            return one
    return None


def value(die: DIE, attribute: str) -> Any:
    """The value of an attribute, here or where the entry comes from, or None."""
    found = has(die, attribute)
    return None if found is None else found.attributes[attribute].value


def name(die: DIE) -> str:
    """The name, "" for none."""
    found = value(die, "DW_AT_name")
    return "" if found is None else text(found)


def type_of(die: DIE) -> DIE | None:
    """The entry of its type; None for void."""
    found = has(die, "DW_AT_type")
    return None if found is None else target(found, "DW_AT_type")


def is_declaration(die: DIE) -> bool:
    """Whether it only says that there is such a thing."""
    return bool(own(die, "DW_AT_declaration"))


def parents(die: DIE) -> Iterator[DIE]:
    """What is around it, innermost first."""
    at = die.get_parent()
    while at is not None:
        yield at
        at = at.get_parent()


def path(die: DIE) -> str:
    """The name with namespaces and classes in front, as C++ writes it."""
    around = next(one for one in reversed(list(origins(die))))
    words = [name(die)]
    for one in parents(around):
        if one.tag in NAMESPACES or one.tag in STRUCTURES:
            words.append(name(one) or ANONYMOUS)
    return "::".join(reversed(words))


def at_file_level(die: DIE) -> bool:
    """Whether it is outside of all functions."""
    return all(
        one.tag in UNITS or one.tag in NAMESPACES or one.tag in STRUCTURES for one in parents(die)
    )


def constant(die: DIE, attribute: str) -> int | None:
    """A number of the entry itself; None when there is none, or when it has to be computed."""
    found = die.attributes.get(attribute)
    if found is None or not isinstance(found.value, int) or isinstance(found.value, bool):
        return None
    return found.value


def low_and_high(die: DIE) -> tuple[int, int] | None:
    """The code of an entry that is in one piece: first address, and the one behind it."""
    low, high = die.attributes.get("DW_AT_low_pc"), die.attributes.get("DW_AT_high_pc")
    if low is None or high is None:
        return None
    end = high.value if high.form.startswith("DW_FORM_addr") else low.value + high.value
    return int(low.value), int(end)
