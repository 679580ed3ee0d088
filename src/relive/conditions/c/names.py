"""What names mean at a site: C variables, enumerators, symbols.

Looked for in this order: the function's variables, innermost block first; members of `this`; what
is outside of functions in the same source file; in the same program or library; in others; symbols.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from relive.conditions.c.entries import (
    enumerator,
    exported,
    file_of,
    is_in,
    nested,
    same_place,
    space_of,
)
from relive.conditions.c.frame import Frame
from relive.conditions.c.operands import Object, Untyped, cast, size_of
from relive.conditions.c.places import Memory
from relive.conditions.c.typesof import Types, debug_info
from relive.conditions.errors import ConditionError, NotYetKnown
from relive.conditions.ir import Const
from relive.conditions.operands import Number, Operand, Scope
from relive.conditions.values import Value
from relive.symbols.dwarf import dies
from relive.symbols.dwarf import types as ctypes
from relive.symbols.dwarf.info import TYPES, completing
from relive.symbols.dwarf.scopes import Local, Scopes
from relive.symbols.dwarf.types import CType, Pointer, Struct
from relive.symbols.errors import SymbolError
from relive.symbols.process import chosen
from relive.symbols.symbol import STT_OBJECT, STT_TLS

if TYPE_CHECKING:
    from elftools.dwarf.die import DIE

    from relive.symbols.dwarf.info import DebugInfo
    from relive.symbols.process import Location, Module, ProcessSymbols

_DATA = ("DW_TAG_variable", "DW_TAG_constant")


class SiteNames(Scope):
    """Names at one address of a process, or at no address in particular.

    address: where threads are when the condition is evaluated; None: they may be anywhere, so
    that no variables of functions are known.  why: why it is None, in words.
    near: an address of the module whose variables come first.
    """

    def __init__(
        self,
        symbols: ProcessSymbols,
        address: int | None,
        *,
        near: int | None = None,
        why: str = "",
    ) -> None:
        self._symbols = symbols
        self._why = why
        where = near if address is None else address
        self._module = None if where is None else symbols.module_at(where)
        if self._module is None:
            self._module = next((one for one in symbols.modules if one.main), None)
            address = None
        self._vaddr = None
        if address is not None and self._module is not None:
            self._vaddr = address - self._module.bias
        self._known: dict[str, Operand | None] = {}

    # -- as a mapping

    def __getitem__(self, name: str) -> Operand:
        return self.variable(name)

    def __iter__(self) -> Iterator[str]:
        """Names that are near, to tell what there is; not all of them."""
        names: list[str] = []
        try:
            with self._reading():
                scopes = self._scopes
                if scopes is not None and self._info is not None:
                    names += scopes.names()
                    if scopes.unit is not None:
                        names += self._info.near(scopes.unit)
        except ConditionError:
            pass  # these are only hints
        return iter(names)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return True  # whoever has a choice takes it for names

    # -- what there is

    @cached_property
    def _info(self) -> DebugInfo | None:
        return None if self._module is None else debug_info(self._module)

    @cached_property
    def _scopes(self) -> Scopes | None:
        if self._info is None or self._vaddr is None:
            return None
        found = Scopes(self._info, self._vaddr)
        unit = found.unit
        top = None if unit is None else unit.get_top_DIE()
        if top is not None and {"DW_AT_dwo_name", "DW_AT_GNU_dwo_name"} & top.attributes.keys():
            raise ConditionError(
                f"the debugging information of {self._info.path} is in .dwo files",
                "compile without -gsplit-dwarf",
            )
        return found

    @cached_property
    def _frame(self) -> Frame:
        assert self._module is not None
        return Frame(self._symbols, self._module, self._vaddr, self._scopes)

    def unknown(self, name: str) -> str:
        try:
            with self._reading():
                return self._unknown()
        except ConditionError as error:
            return error.message

    def _unknown(self) -> str:
        """Why variables may not be known here."""
        if self._why:
            return self._why
        if self._module is not None and self._info is None:
            return _missing(self._module)
        if self._scopes is not None and self._scopes.unit is None and self._module is not None:
            return (
                f"{self._module.path} has no debugging information for this address:"
                " its source file was compiled without -g"
            )
        return ""

    # -- variables

    def variable(self, name: str) -> Operand:
        if name not in self._known:
            with self._reading():
                self._known[name] = self._find(name)
        found = self._known[name]
        if found is None:
            raise KeyError(name)
        return found

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Errors of what is read meanwhile become ConditionErrors."""
        try:
            yield
        except ConditionError:
            raise
        except SymbolError as error:
            raise ConditionError(error.message, error.hint) from None
        except Exception as error:  # damaged: elftools asserts, overflows, subscripts None...
            path = self._module.path if self._module is not None else "the program"
            raise ConditionError(
                f"the debugging information of {path} can't be read: {error!r}"
            ) from None

    def _find(self, name: str) -> Operand | None:
        around, _, plain = name.rpartition("::")
        if around or name.startswith("::"):
            return self._qualified(around, plain)
        local = None if self._scopes is None else self._scopes.find(name)
        if local is not None and not local.outer:
            return self._local(local, name)
        own = self._own(name)
        if local is not None:
            if own is not None:
                function = dies.name(local.function)
                raise ConditionError(
                    f"{name} is a variable of {function}, into which this code was inlined,"
                    f" and one outside of functions",
                    f"write var('{function}::{name}') or var('::{name}')",
                )
            return self._local(local, name)
        return own or self._member_of_this(name) or self._elsewhere(name) or self._symbol(name)

    def _local(self, local: Local, name: str) -> Operand:
        assert self._info is not None
        die = local.die
        if die.tag == "DW_TAG_enumerator":
            return enumerator(die)
        if dies.is_declaration(die) and "DW_AT_location" not in die.attributes:
            return self._declared(die, name)
        if local.gone:
            raise ConditionError(
                f"{name} is optimised out at this address", "compile with -O0 or -Og to see it"
            )
        return self._object(self._info, die, name, self._frame)

    def _member_of_this(self, name: str) -> Operand | None:
        local = None if self._scopes is None else self._scopes.find("this")
        if local is None or local.gone or local.outer:
            return None
        kind = ctypes.of(dies.type_of(local.die))
        if not isinstance(kind, Pointer) or not isinstance(kind.target, Struct):
            return None
        if self.complete(kind.target).find(name) is None:
            return None
        return self._local(local, "this").member(name)

    def _object(self, info: DebugInfo, die: DIE, name: str, frame: Frame) -> Operand:
        kind = ctypes.of(dies.type_of(die))
        place = frame.place(info, die, kind, name)
        fixed = isinstance(place, Memory) and isinstance(place.at, Const)
        return Object(kind, place, name, self.complete, fixed)

    def _declared(self, die: DIE, name: str) -> Operand:
        """A variable that is only declared where we know its type: its symbol says where it is."""
        info = self._info
        if info is not None and die.dwarfinfo is info.dwarf:
            completed = completing(die)
            assert self._module is not None
            if completed is not None and not self._is_replaced(self._module, die, name):
                return self._object(info, completed, name, self._frame)
        linkage = dies.value(die, "DW_AT_linkage_name")
        symbol = name if linkage is None else dies.text(linkage)
        found = self._address(symbol)
        if found is None:
            for module in self._modules():
                info = debug_info(module)
                for other in info.named(name) if info is not None else ():
                    if other.tag in _DATA and not dies.is_declaration(other) and info is not None:
                        frame = Frame(self._symbols, module)
                        return self._object(info, other, name, frame)
            raise NotYetKnown(
                f"{name} is declared here, and no file that is loaded defines it (or it is"
                " optimised out)"
            )
        kind = ctypes.of(dies.type_of(die))
        return Object(kind, Memory(Const(found.address)), name, self.complete, True)

    # -- outside of functions

    def _own(self, name: str, around: str = "") -> Operand | None:
        """A variable or enumerator of the site's own module."""
        if self._module is None or self._info is None:
            return None
        return self._among(self._module, self._info, name, around)

    def _elsewhere(self, name: str, around: str = "") -> Operand | None:
        for module in self._symbols.modules:
            info = None if module is self._module else debug_info(module)
            found = None if info is None else self._among(module, info, name, around)
            if found is not None:
                return found
        return None

    def _modules(self) -> Iterator[Module]:
        if self._module is not None:
            yield self._module
        yield from (module for module in self._symbols.modules if module is not self._module)

    def _among(self, module: Module, info: DebugInfo, name: str, around: str) -> Operand | None:
        """What a module's files call so.  around: the namespace, class or source file;
        :: for what is in none."""
        found = [die for die in info.named(name) if die.tag not in TYPES]
        outermost = around == "::"
        around = "" if outermost else around
        if around:
            found = [die for die in found if is_in(die, around)]
        unit = None if self._scopes is None else self._scopes.unit
        here = [die for die in found if die.cu is unit]
        spaces = [] if self._scopes is None or outermost else self._scopes.spaces()
        for some, everywhere in ((here, False), (found, False), (found, True)):
            data = [die for die in some if die.tag in _DATA]
            data = data if around else _visible(data, spaces, everywhere)
            defined = [die for die in data if not dies.is_declaration(die)]
            shared = [die for die in defined if dies.has(die, "DW_AT_external") is not None]
            if defined:
                return self._one(module, info, shared or defined, name)
            enumerators = [die for die in some if die.tag == "DW_TAG_enumerator"]
            if enumerators:
                return self._same(enumerators, name)
            if data:
                return self._declared(data[0], name)
        return None

    def _one(self, module: Module, info: DebugInfo, variables: list[DIE], name: str) -> Operand:
        frame = self._frame if module is self._module else Frame(self._symbols, module)
        made: list[tuple[DIE, Operand]] = []
        failure: ConditionError | None = None
        for die in variables:
            try:
                one = self._object(info, die, name, frame)
            except ConditionError as error:
                failure = failure or error
                continue
            if not any(same_place(one, other) for _, other in made):
                made.append((die, one))
        if not made:
            symbol = self._address(name)
            if symbol is not None and symbol.module is module:
                return self._declared(variables[0], name)
            assert failure is not None
            raise failure
        if len(made) > 1:
            ways = [f"var('{file_of(die)}::{name}')" for die, _ in made]
            raise ConditionError(
                f"{len(made)} variables are called {name}", "write " + " or ".join(ways[:4])
            )
        die, one = made[0]
        if self._is_replaced(module, die, name):
            return self._declared(die, name)
        return one

    def _is_replaced(self, module: Module, die: DIE, name: str) -> bool:
        """Whether a library's variable is not the one that is used: the program may have a copy
        of its own, or another library's comes first."""
        if module.main or dies.has(die, "DW_AT_external") is None:
            return False
        linkage = dies.value(die, "DW_AT_linkage_name")
        symbol = name if linkage is None else dies.text(linkage)
        found = self._address(symbol)
        if found is None or found.module is None or found.module is module:
            return False
        return exported(module, symbol) and exported(found.module, symbol)

    def _same(self, enumerators: list[DIE], name: str) -> Operand:
        values = {enumerator(die): die for die in enumerators}
        if len(values) > 1:
            numbers = ", ".join(str(one.number) for one in values)
            raise ConditionError(
                f"{name} is the name of several enumerators", f"write the number: {numbers}"
            )
        return next(iter(values))

    def _qualified(self, around: str, name: str) -> Operand | None:
        """`function::name`, `file.c::name`, `namespace::name`, `::name`."""
        if not around:
            found = self._own(name, "::") or self._elsewhere(name, "::")
            return found or self._symbol(name)
        if self._scopes is not None:
            local = self._scopes.find(name, around)
            if local is not None:
                return self._local(local, name)
        found = self._own(name, around) or self._elsewhere(name, around)
        return found or self._static_in(around, name)

    def _static_in(self, function: str, name: str) -> Operand | None:
        """A static variable of a function where the site is not."""
        location = self._address(function)
        module = None if location is None else location.module
        info = None if module is None else debug_info(module)
        if location is None or module is None or info is None:
            return None
        vaddr = location.address - module.bias
        scopes = Scopes(info, vaddr)
        local = scopes.find(name, function) or nested(scopes, name)
        if local is None or local.gone:
            return None
        if local.die.tag == "DW_TAG_formal_parameter" or (
            dies.has(local.die, "DW_AT_location") is None
        ):
            raise ConditionError(f"{name} is a variable of {function}, where the site is not")
        return self._object(info, local.die, name, Frame(self._symbols, module))

    # -- symbols

    def _address(self, name: str) -> Location | None:
        try:
            return self._symbols.resolve(name)[0]
        except SymbolError:
            return None

    def _symbol(self, name: str) -> Operand | None:
        """A symbol: of functions the address, of variables that nobody describes, too."""
        location = self._address(name)
        if location is None:
            self._refuse_thread_local(name)
            return None
        symbol, module = location.symbol, location.module
        if symbol is None or module is None or symbol.type != STT_OBJECT:
            return Number(location.address)
        hint = "compile with -g or install its debug package"
        if debug_info(module) is None:
            why = f"{module.path} has no debugging information"
        else:
            why = f"the debugging information of {module.path} does not describe it"
        return Untyped(name, location.address, why, hint)

    def _refuse_thread_local(self, name: str) -> None:
        for module in self._symbols.modules:
            if any(symbol.type == STT_TLS for symbol in chosen(module.image, name, "")):
                raise ConditionError(
                    f"{name} is thread-local, and {module.path} does not describe it",
                    "compile with -g or install its debug package",
                )

    # -- types

    @cached_property
    def _types(self) -> Types:
        return Types(self._modules, self._scopes)

    def complete(self, struct: Struct) -> Struct:
        """The full description of a structure, from another source file if need be."""
        with self._reading():
            return self._types.complete(struct)

    def cast(self, type_name: str, value: Value) -> Operand:
        kind = self._type(type_name)
        return cast(kind, value, f"cast('{type_name}', ...)", self.complete)

    def size_of(self, type_name: str) -> int:
        return size_of(self._type(type_name), f"'{type_name}'", self.complete)

    def _type(self, text: str) -> CType:
        try:
            with self._reading():
                return self._types.named(text)
        except NotYetKnown as error:
            hint = self.unknown(text) if self._info is None else ""
            raise NotYetKnown(error.message, hint) from None


def _missing(module: Module) -> str:
    return (
        f"{module.path} has no debugging information, so its variables are not known:"
        " compile with -g or install its debug package"
    )


def _visible(found: list[DIE], spaces: list[str], everywhere: bool) -> list[DIE]:
    """The variables of the innermost namespace or class around the site that has some.

    everywhere: when none has, those of others.
    """
    around = [space_of(die) for die in found]
    for space in (*spaces, ""):
        some = [die for die, its in zip(found, around, strict=True) if its == space]
        if some:
            return some
    return found if everywhere else []
