"""The places of variables for a thread that is at one address."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

from relive.conditions.c import lowering, tls
from relive.conditions.c.lowering import Context
from relive.conditions.c.places import Bytes, Memory, Nowhere, Pieces, Place, Word, plus
from relive.conditions.errors import ConditionError
from relive.conditions.ir import Expr, Load
from relive.symbols.bytesreader import Reader
from relive.symbols.dwarf import abi, dies, locations
from relive.symbols.dwarf import types as ctypes
from relive.symbols.dwarf.types import Base, CType, Struct

if TYPE_CHECKING:
    from elftools.dwarf.compileunit import CompileUnit
    from elftools.dwarf.die import DIE
    from elftools.dwarf.typeunit import TypeUnit

    from relive.symbols.dwarf.info import DebugInfo, Span
    from relive.symbols.dwarf.locations import Location
    from relive.symbols.dwarf.scopes import Scopes
    from relive.symbols.frames import UnwindRow
    from relive.symbols.process import Module, ProcessSymbols

_FBREG, _CFA, _RBP, _BREGS = 0x91, 0x9C, 0x56, (0x76, 0x77)
_BREG0, _DEREF = 0x70, 0x06
_RBP_NUMBER: Final = 6
_RSP_NUMBER: Final = 7
_RED_ZONE: Final = 128
_SHOWN: Final = 3
"""Stretches of code that an error lists."""


class Frame:
    """Of one function at one address of a module, or of no function.

    vaddr: the file address, None when a thread may be anywhere.
    scopes: what is around it; None when there is no debugging information.
    """

    def __init__(
        self,
        symbols: ProcessSymbols,
        module: Module,
        vaddr: int | None = None,
        scopes: Scopes | None = None,
    ) -> None:
        self.symbols = symbols
        self.module = module
        self.vaddr = vaddr
        self.scopes = scopes

    def place(self, info: DebugInfo, die: DIE, kind: CType, name: str) -> Place:
        """Where a variable is.  Raises ConditionError when it is nowhere here."""
        found = locations.locate(info, die, self.vaddr, kind.size or 8)
        if found.constant is not None:
            return Bytes(found.constant)
        if not found.expression:
            raise self._absent(name, found)
        if self.scopes is not None and not found.listed and self._on_stack(found.expression):
            at_entry = self._before_body(die, name, found)
            if at_entry is not None:
                return at_entry
            self._check_frame(found.expression)
        try:
            made = lowering.place(found.expression, self._context(info, die.cu))
        except ConditionError as error:
            if error.message == lowering.ENTRY:
                hint = "--collect it where the function begins"
                raise ConditionError(f"{name} is {error.message}", hint) from None
            raise ConditionError(f"{name} can't be read here: {error.message}") from None
        if isinstance(made, Nowhere):
            return Nowhere(f"{name} can't be read here: {made.why}", made.hint)
        return made

    # -- what expressions refer to

    def _context(self, info: DebugInfo, unit: CompileUnit | TypeUnit) -> Context:
        def number(offset: int) -> tuple[int, bool]:
            kind = ctypes.of(unit.get_DIE_from_refaddr(unit.cu_offset + offset))
            if not isinstance(kind, Base) or kind.size > 8 or kind.encoding in ("float", "complex"):
                raise ConditionError(f"it is computed from a {kind.name}")
            return kind.size, kind.encoding == "signed"

        def thread_local(offset: Expr) -> Expr:
            return tls.address(self.symbols, self.module, offset)

        return Context(
            self.module.bias,
            self._cfa,
            self._frame_base,
            lambda index: info.dwarf.get_addr(unit, index),
            thread_local,
            number,
        )

    @cached_property
    def _row(self) -> UnwindRow | None:
        return None if self.vaddr is None else self.module.image.frames.row(self.vaddr)

    def _cfa(self) -> Expr:
        row = self._row
        if row is None:
            raise ConditionError(
                f"{self.module.path} has no call frame information for this address"
            )
        if row.cfa_expression:
            return lowering.value(row.cfa_expression, self._plain)
        return plus(lowering.register(row.cfa_register), row.cfa_offset)

    @property
    def _plain(self) -> Context:
        def never(_: object = None) -> Expr:
            raise ConditionError("the frame is described in a way that makes no sense")

        def number(_: int) -> int:
            raise ConditionError("the frame is described in a way that makes no sense")

        return Context(self.module.bias, never, never, number, never, lambda _: (8, False))

    @cached_property
    def _frame_expression(self) -> bytes:
        function = None if self.scopes is None else self.scopes.function
        if function is None or self.scopes is None or "DW_AT_frame_base" not in function.attributes:
            raise ConditionError("nothing says where the frame of the function is")
        found = locations.at(self.scopes.info, function, "DW_AT_frame_base", self.vaddr)
        if not found.expression:
            raise ConditionError("nothing says where the frame of the function is here")
        return found.expression

    def _frame_base(self) -> Expr:
        assert self.scopes is not None and self.scopes.function is not None
        expression = self._frame_expression
        context = self._context(self.scopes.info, self.scopes.function.cu)
        return lowering.value(expression, context)

    # -- where descriptions don't hold

    def _on_stack(self, expression: bytes) -> bool:
        return expression[0] in (_FBREG, _CFA, *_BREGS)

    def _before_body(self, die: DIE, name: str, found: Location) -> Place | None:
        """The place of a variable before the function has stored its parameters; None behind."""
        assert self.scopes is not None and self.vaddr is not None
        function = self.scopes.function
        spans = [] if function is None else self.scopes.info.ranges(function)
        if not spans or not spans[0].start <= self.vaddr < spans[0].end:
            return None
        at_start = self.vaddr == spans[0].start
        lines = self.module.image.lines
        body = None if lines is None else lines.body(*spans[0])
        if not at_start and (body is None or self.vaddr >= body):
            return None
        parameters = self.scopes.parameters()
        if die in parameters:
            if (by_caller := self._by_caller(found.expression)) is not None:
                return by_caller
            if at_start:
                return self._passed(parameters, parameters.index(die), name)
        where = "its second line" if body is None else self._named(body)
        raise ConditionError(
            f"{name} is not set up yet at this address: the function's body begins at {where}",
            f"break at {where}, or at its line",
        )

    def _by_caller(self, expression: bytes) -> Place | None:
        """The place of a parameter that the caller has put on the stack, and that stays there."""
        if expression[0] != _FBREG:
            return None
        reader = Reader(expression, 1)
        offset = reader.sleb()
        if self._frame_expression == bytes((_RBP,)):
            offset -= 16  # rbp will be where the CFA is without return address and itself
        elif self._frame_expression != bytes((_CFA,)):
            return None
        if offset < 0 or reader.at < reader.end:
            return None
        return Memory(plus(self._cfa(), offset))

    def _passed(self, parameters: list[DIE], number: int, name: str) -> Place:
        """A parameter before the function's first instruction."""
        assert self.scopes is not None and self.scopes.function is not None
        function = self.scopes.function
        language = dies.own(function.cu.get_top_DIE(), "DW_AT_language")
        try:
            if language not in abi.C_LANGUAGES:
                raise ValueError("only of C and C++ is it known how parameters are passed")
            kinds = [ctypes.of(dies.type_of(one)) for one in parameters]
            for kind, one in zip(kinds, parameters, strict=True):
                if isinstance(kind, Struct) and not kind.by_reference:
                    kind.by_reference = self._is_reference(one, kind)
            how = abi.passed(kinds, ctypes.of(dies.type_of(function)))[number]
        except ValueError as error:
            raise ConditionError(
                f"{name} is not set up yet at this address, and {error}",
                "break at the function's first line",
            ) from None
        rsp = lowering.register(_RSP_NUMBER)
        if not how.certain:
            raise ConditionError(
                f"{name} is on the stack at this address, in a place that is not known",
                "break at the function's first line",
            )
        if how.stack is not None:
            stack = plus(rsp, how.stack)
            return Memory(Load(stack, 8) if how.indirect else stack)
        words: list[tuple[Place, int]] = [
            (Word(lowering.register(register)), 8) for register in how.registers
        ]
        if not words:
            return Nowhere(f"{name} is passed in a vector register, which conditions don't know")
        if how.indirect:
            return Memory(lowering.register(how.registers[0]))
        return words[0][0] if len(words) == 1 else Pieces(tuple(words))

    def _is_reference(self, parameter: DIE, kind: Struct) -> bool:
        """Whether of a structure only the address is passed, as C++ does it for classes that
        can't be copied as bytes.  Raises ValueError when nothing says."""
        assert self.scopes is not None
        found = locations.locate(self.scopes.info, parameter, self.vaddr, 8)
        if found.expression:
            if found.expression[0] == _FBREG:
                return found.expression[-1] == _DEREF
            in_register = found.expression[0] - _BREG0 in abi.INTEGERS
            return in_register and found.expression[1:] == b"\0"
        if kind.has_methods:
            raise ValueError(f"how a {kind.name} is passed is not known")
        return False

    def _check_frame(self, expression: bytes) -> None:
        """Refuse a frame that is not there yet, or not any more."""
        row = self._row
        if expression[0] != _FBREG or row is None or row.cfa_expression:
            return
        base = self._frame_expression
        missing = base == bytes((_RBP,)) and row.cfa_register != _RBP_NUMBER
        if base == bytes((_CFA,)) and row.cfa_register == _RSP_NUMBER:
            missing = row.cfa_offset + Reader(expression, 1).sleb() < -_RED_ZONE
        if missing:
            raise ConditionError(
                "the function's frame is not there at this address",
                "break at a line inside of the function",
            )

    def _absent(self, name: str, found: Location) -> ConditionError:
        if not found.elsewhere:
            return ConditionError(f"{name} is optimised out", "compile with -O0 or -Og to see it")
        return ConditionError(
            f"{name} is not available at this address (optimised out;"
            f" live {self._stretches(found.elsewhere)})"
        )

    def _stretches(self, spans: tuple[Span, ...]) -> str:
        shown = [f"from {self._named(a)} to {self._named(b)}" for a, b in spans[:_SHOWN]]
        return ", ".join(shown) + (", ..." if len(spans) > _SHOWN else "")

    def _named(self, vaddr: int) -> str:
        """A file address as symbol and offset; that of the symbol at the site, if it is near."""
        image = self.module.image
        here = None if self.vaddr is None else image.symbol_at(self.vaddr)
        if here is not None and here.value <= vaddr <= here.value + here.size:
            offset = vaddr - here.value
            return f"{here.name}+{offset:#x}" if offset else here.name
        return self.symbols.describe(self.module.bias + vaddr).name
