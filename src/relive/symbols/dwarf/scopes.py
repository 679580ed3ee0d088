"""Which functions and blocks an address is in, and what they call what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from relive.symbols.dwarf import dies
from relive.symbols.dwarf.info import TYPES, DebugInfo, file_level

if TYPE_CHECKING:
    from elftools.dwarf.compileunit import CompileUnit
    from elftools.dwarf.die import DIE

_VARIABLES: Final = ("DW_TAG_variable", "DW_TAG_formal_parameter", "DW_TAG_constant")
_FUNCTIONS: Final = ("DW_TAG_subprogram", "DW_TAG_inlined_subroutine")


@dataclass(frozen=True, slots=True)
class Local:
    """A name of a function.

    die: the variable, parameter or enumerator; of the function's code here if it is in it.
    function: the function (or what of it was inlined) whose name it is.
    gone: nothing of it is in the code here: it was optimised out.
    outer: the function is not the one of the line at the address, but one into which that was
    inlined.
    """

    die: DIE
    function: DIE
    gone: bool = False
    outer: bool = False


class Scopes:
    """What surrounds a file address."""

    def __init__(self, info: DebugInfo, vaddr: int) -> None:
        self.info = info
        self.vaddr = vaddr

    @cached_property
    def unit(self) -> CompileUnit | None:
        return self.info.unit_at(self.vaddr)

    @cached_property
    def chain(self) -> tuple[DIE, ...]:
        """Blocks, inlined functions and the function, innermost first; empty outside of code."""
        if self.unit is None:
            return ()
        for die in file_level(self.unit):
            if die.tag == "DW_TAG_subprogram" and self._covers(die):
                found = [die]
                while (inner := self._inside(found[-1])) is not None:
                    found.append(inner)
                return tuple(reversed(found))
        return ()

    @property
    def function(self) -> DIE | None:
        """The function whose frame this is."""
        return self.chain[-1] if self.chain else None

    def _covers(self, die: DIE) -> bool:
        return any(span.start <= self.vaddr < span.end for span in self.info.ranges(die))

    def _inside(self, die: DIE) -> DIE | None:
        for child in die.iter_children():
            if child.tag in (*_FUNCTIONS, "DW_TAG_lexical_block") and self._covers(child):
                return child
        return None

    def parameters(self) -> list[DIE]:
        """Of the function whose frame this is, in their order."""
        if self.function is None:
            return []
        return [d for d in self.function.iter_children() if d.tag == "DW_TAG_formal_parameter"]

    # -- names

    def find(self, name: str, function: str = "") -> Local | None:
        """What a name means here, inside of functions.  function: only in the one called so."""
        outer = False
        blocks: list[DIE] = []
        for scope in self.chain:
            blocks.append(scope)
            if scope.tag not in _FUNCTIONS:
                continue
            if not function or dies.name(scope) == function or dies.path(scope) == function:
                for block in blocks:
                    die = _named(block, name)
                    if die is not None:
                        return Local(die, scope, False, outer)
                # The compiler leaves out of inlined code what became of nothing.
                origin = list(dies.origins(scope))[-1]
                die = None if origin is scope else _anywhere(origin, name)
                if die is not None:
                    return Local(die, scope, True, outer)
            blocks.clear()
            outer = True
        return None

    def type_named(self, name: str) -> Iterator[DIE]:
        """The types that functions here declare by that name."""
        for scope in self.chain:
            for die in scope.iter_children():
                if die.tag in TYPES and dies.name(die) == name:
                    yield die

    def names(self) -> Iterator[str]:
        """The names of variables and parameters, innermost first."""
        for scope in self.chain:
            for die in scope.iter_children():
                if die.tag in _VARIABLES:
                    yield dies.name(die)

    def spaces(self) -> list[str]:
        """The classes and namespaces around the innermost function, innermost first."""
        for scope in self.chain:
            if scope.tag in _FUNCTIONS:
                words = dies.path(scope).split("::")[:-1]
                words = [word for word in words if word != dies.ANONYMOUS]
                return ["::".join(words[:count]) for count in range(len(words), 0, -1)]
        return []


def _named(scope: DIE, name: str) -> DIE | None:
    """The variable, parameter or enumerator of a block itself."""
    for die in scope.iter_children():
        if die.tag in _VARIABLES and dies.name(die) == name:
            return die
        if die.tag == "DW_TAG_enumeration_type":
            for value in die.iter_children():
                if dies.name(value) == name:
                    return value
    return None


def _anywhere(scope: DIE, name: str) -> DIE | None:
    """The same, in all of its blocks."""
    found = _named(scope, name)
    if found is not None:
        return found
    for die in scope.iter_children():
        if die.tag == "DW_TAG_lexical_block":
            found = _anywhere(die, name)
            if found is not None:
                return found
    return None
