"""Small questions about entries of debugging information, as names in conditions ask them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relive.conditions.c.operands import Object
from relive.conditions.operands import Number, Operand
from relive.symbols.dwarf import dies
from relive.symbols.dwarf import types as ctypes
from relive.symbols.dwarf.scopes import Local, Scopes
from relive.symbols.dwarf.types import Enum
from relive.symbols.process import chosen

if TYPE_CHECKING:
    from elftools.dwarf.die import DIE

    from relive.symbols.process import Module


_C = frozenset((0x01, 0x02, 0x0C, 0x1D, 0x2C))
"""DW_LANG_* of C."""


def enumerator(die: DIE) -> Number:
    """The number that an enumerator stands for."""
    parent = die.get_parent()
    if parent is not None:
        kind = ctypes.of(parent)
        if isinstance(kind, Enum):
            return Number(kind.values[dies.name(die)])
    return Number(dies.constant(die, "DW_AT_const_value") or 0)


def file_of(die: DIE) -> str:
    """The name of the source file, without folders."""
    return dies.name(die.cu.get_top_DIE()).rpartition("/")[2]


def is_in(die: DIE, around: str) -> bool:
    """Whether a variable is in the source file, namespace or class that the user wrote."""
    name = dies.name(die.cu.get_top_DIE())
    if name == around or name.endswith("/" + around):
        return True
    return dies.path(die).rpartition("::")[0] == around.removeprefix("::")


def space_of(die: DIE) -> str:
    """The namespace or class that a variable is in, "" for none."""
    if dies.own(die.cu.get_top_DIE(), "DW_AT_language") in _C:
        return ""  # there are none, and looking for them takes its time
    return dies.path(die).rpartition("::")[0].replace(dies.ANONYMOUS, "").strip(":")


def same_place(one: Operand, other: Operand) -> bool:
    """Whether two descriptions are of one variable."""
    if isinstance(one, Object) and isinstance(other, Object):
        return one.place == other.place
    return one == other


def nested(scopes: Scopes, name: str) -> Local | None:
    """A variable of any block of a function."""
    function = scopes.function
    pending = [] if function is None else [function]
    while pending and function is not None:
        for die in pending.pop().iter_children():
            if die.tag == "DW_TAG_variable" and dies.name(die) == name:
                return Local(die, function)
            if die.tag == "DW_TAG_lexical_block":
                pending.append(die)
    return None


def exported(module: Module, name: str) -> bool:
    """Whether other files can see a symbol of a module."""
    return any(symbol.dynamic for symbol in chosen(module.image, name, ""))
