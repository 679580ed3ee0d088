"""Types by their names, and the full descriptions of structures that are only named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from relive.conditions.c import typenames
from relive.conditions.errors import ConditionError, NotYetKnown
from relive.symbols.dwarf import dies
from relive.symbols.dwarf import types as ctypes
from relive.symbols.dwarf.info import TYPES
from relive.symbols.dwarf.types import Array, CType, Pointer, Struct
from relive.symbols.errors import SymbolError

if TYPE_CHECKING:
    from elftools.dwarf.die import DIE

    from relive.symbols.dwarf.info import DebugInfo
    from relive.symbols.dwarf.scopes import Scopes
    from relive.symbols.process import Module


class Types:
    """Types as they are known at a site.

    modules: in the order in which they are looked at.  scopes: what is around the site, or None.
    """

    def __init__(self, modules: Callable[[], Iterator[Module]], scopes: Scopes | None) -> None:
        self._modules = modules
        self._scopes = scopes
        self._completed: dict[tuple[int, int], Struct] = {}

    def complete(self, struct: Struct) -> Struct:
        """The full description of a structure, from another source file if need be."""
        if struct.known or not struct.plain:
            return struct
        key = (id(struct.die.dwarfinfo), struct.die.offset)
        if key not in self._completed:
            self._completed[key] = self._complete(struct)
        return self._completed[key]

    def _complete(self, struct: Struct) -> Struct:
        for die in self._types(struct.plain, "class" if struct.kind == "class" else struct.kind):
            found = ctypes.of(die)
            if isinstance(found, Struct) and found.known:
                return found
        return struct

    def _types(self, name: str, kind: str) -> Iterator[DIE]:
        """The types of that name, the nearest first, complete ones first."""
        plain = name.rpartition("::")[2]
        if self._scopes is not None:
            yield from (die for die in self._scopes.type_named(name) if _fits(die, kind))
        for module in self._modules():
            info = debug_info(module)
            if info is None:
                continue
            found = [die for die in info.named(plain) if die.tag in TYPES and _fits(die, kind)]
            if "::" in name:
                found = [die for die in found if dies.path(die) == name.removeprefix("::")]
            unit = None if self._scopes is None else self._scopes.unit
            found.sort(key=lambda die: (dies.is_declaration(die), die.cu is not unit))
            yield from found

    def named(self, text: str) -> CType:
        """The type that a text names.  Raises ConditionError."""
        written = typenames.parse(text)
        kind = None if written.kind else typenames.builtin(written.name)
        if kind is None:
            kind = self._described(written.name, written.kind)
        if kind is None and not written.kind:
            kind = typenames.fixed(written.name)
        if kind is None:
            what = f"{written.kind} {written.name}".strip()
            raise NotYetKnown(f"no type is called '{what}'")
        for _ in range(written.stars):
            kind = Pointer(None, kind)
        for bound in reversed(written.bounds):
            kind = Array(kind, bound)
        return kind

    def _described(self, name: str, kind: str) -> CType | None:
        try:
            for die in self._types(name, kind):
                found = ctypes.of(die)
                return self.complete(found) if isinstance(found, Struct) else found
        except (ConditionError, SymbolError) as error:
            raise ConditionError(error.message, error.hint) from None
        except Exception as error:  # damaged: elftools asserts, overflows, subscripts None...
            raise ConditionError(f"the description of {name} can't be read: {error!r}") from None
        return None


def debug_info(module: Module) -> DebugInfo | None:
    try:
        return module.image.debug_info
    except SymbolError as error:
        raise ConditionError(error.message, error.hint) from None


def _fits(die: DIE, kind: str) -> bool:
    """Whether an entry is of the kind that the user wrote (struct and class are one)."""
    if not kind:
        # In C a structure's name is no type without the word, unless nothing else has it.
        return True
    wanted = {"enum": "DW_TAG_enumeration_type", "union": "DW_TAG_union_type"}.get(kind)
    if wanted is None:
        return die.tag in ("DW_TAG_structure_type", "DW_TAG_class_type")
    return die.tag == wanted
