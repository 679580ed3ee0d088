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
    # The dynamic linker has the numbers only when it has relocated the file, which may be later.
    for place, offset in _relocations(module, _TPOFF64):
        word = Load(Const(module.bias + place & WORD_MASK), 8)
        block = plus(Binary("add", FS_BASE, word), -offset)
        return Select(word, block, Const(_UNREADABLE))
    for place, _ in _relocations(module, _DTPMOD64):
        if not _is_glibc(symbols):
            break
        # The thread's vector of blocks: how many entries there are, then pairs of words.
        number = Load(Const(module.bias + place & WORD_MASK), 8)
        vector = Load(plus(FS_BASE, 8), 8)
        there = Binary("ult", plus(number, -1), Load(plus(vector, -16), 8))
        block = Load(Binary("add", vector, Binary("shl", number, Const(4))), 8)
        return Select(there, block, Const(_UNREADABLE))
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


def _relocations(module: Module, wanted: int) -> list[tuple[int, int]]:
    """Words that are relocated in a way for the module's own variables: place, and offset into
    the block; first those that can't be of another file's variable."""
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
            found.append((False, place, addend))
        elif symbols is not None and at + _SYM.size <= len(symbols[1]):
            _, _, _, section, value, _ = _SYM.unpack_from(symbols[1], at)
            if section:
                found.append((True, place, value + addend))
    found.sort()
    return [(place, offset) for _, place, offset in found]


def _is_glibc(symbols: ProcessSymbols) -> bool:
    return any(module.main and "ld-linux" in module.image.interpreter for module in symbols.modules)
