"""Thread-local variables: where a module's block is, from the thread pointer (fs_base).

Source: Ulrich Drepper, "ELF Handling For Thread-Local Storage", variant II; System V ABI, AMD64
supplement.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from relive.conditions.c.lowering import FS_BASE
from relive.conditions.c.places import plus
from relive.conditions.errors import ConditionError
from relive.conditions.ir import WORD_MASK, Binary, Const, Expr, Load, Select

if TYPE_CHECKING:
    from relive.symbols.process import Module, ProcessSymbols

_RELA: Final = struct.Struct("<QQq")
_SYM: Final = struct.Struct("<IBBHQQ")
_DTPMOD64, _TPOFF64 = 16, 18
_UNREADABLE: Final = 1 << 63
"""An address that no program can read: what is loaded from there is undecided."""


def address(symbols: ProcessSymbols, module: Module, offset: Expr) -> Expr:
    """The address of what is `offset` bytes into a module's block.  Raises ConditionError."""
    return _sum(_block(symbols, module), offset)


def _sum(block: Expr, offset: Expr) -> Expr:
    return plus(block, offset.value) if isinstance(offset, Const) else Binary("add", block, offset)


def _block(symbols: ProcessSymbols, module: Module) -> Expr:
    """The first byte of the current thread's block of a module."""
    if module.main:
        return plus(FS_BASE, -_size(module))
    try:
        fixed = _fixed(symbols, module)
        if fixed is not None:
            return plus(FS_BASE, fixed)
        number = _number(symbols, module)
    except OSError as error:
        raise ConditionError(f"{module.path}: {error.strerror or error}") from None
    if number and _is_glibc(symbols):
        # The thread's vector of blocks: how many entries there are, then pairs of words.
        vector = Load(plus(FS_BASE, 8), 8)
        room = Load(plus(vector, -16), 8)
        block = Load(plus(vector, 16 * number), 8)
        return Select(Binary("ule", Const(number), room), block, Const(_UNREADABLE))
    raise ConditionError(
        f"it is thread-local, and nothing says where threads keep what is {module.name}'s",
        "give its address by fs_base",
    )


def _size(module: Module) -> int:
    """Bytes from the program's block to the thread pointer."""
    for segment in module.image.elf.iter_segments():
        if segment["p_type"] == "PT_TLS":
            align = max(int(segment["p_align"]), 1)
            if segment["p_vaddr"] % align:
                raise ConditionError("it is thread-local, in a block that is not aligned")
            return (int(segment["p_memsz"]) + align - 1) // align * align
    raise ConditionError(f"{module.path} has no thread-local storage")


def _relocations(module: Module, wanted: int) -> list[tuple[int, int, int]]:
    """Place, offset into the block, and 0 or 1: of the module's own variables of a kind."""
    found = []
    image = module.image
    table = image.section(".rela.dyn")
    symbols = image.section(".dynsym")
    data = table[1] if table else b""
    for place, info, addend in _RELA.iter_unpack(data[: len(data) // _RELA.size * _RELA.size]):
        if info & 0xFFFFFFFF != wanted:
            continue
        at = (info >> 32) * _SYM.size
        if not at:
            found.append((place, addend, 0))
        elif symbols is not None and at + _SYM.size <= len(symbols[1]):
            _, _, _, section, value, _ = _SYM.unpack_from(symbols[1], at)
            if section:  # defined here, though another file's may be taken instead of it
                found.append((place, value + addend, 1))
    found.sort(key=lambda entry: entry[2])
    return found


def _fixed(symbols: ProcessSymbols, module: Module) -> int | None:
    """Distance of the block from the thread pointer, if the linker was told to fix it."""
    for place, offset, foreign in _relocations(module, _TPOFF64):
        if not foreign:
            word = int.from_bytes(symbols.memory(module.bias + place, 8), "little")
            return (word - offset & WORD_MASK) - (1 << 64) if word else None
    return None


def _number(symbols: ProcessSymbols, module: Module) -> int:
    """The module's number in threads' vectors, as the dynamic linker stored it; 0: not known."""
    for place, _, _ in _relocations(module, _DTPMOD64):
        return int.from_bytes(symbols.memory(module.bias + place, 8), "little")
    return 0


def _is_glibc(symbols: ProcessSymbols) -> bool:
    return any(module.main and "ld-linux" in module.image.interpreter for module in symbols.modules)
