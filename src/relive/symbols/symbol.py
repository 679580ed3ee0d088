"""One entry of a symbol table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Symbol types and bindings (gABI, "Symbol Table"; STT_GNU_IFUNC: Linux extensions to gABI).
STT_NOTYPE: Final = 0
STT_OBJECT: Final = 1
STT_FUNC: Final = 2
STT_TLS: Final = 6
STT_GNU_IFUNC: Final = 10

STB_LOCAL: Final = 0
STB_GLOBAL: Final = 1
STB_WEAK: Final = 2
STB_GNU_UNIQUE: Final = 10

SHN_UNDEF: Final = 0
SHN_ABS: Final = 0xFFF1


@dataclass(frozen=True, slots=True)
class Symbol:
    """A defined symbol.

    value: its address in the file (not yet moved to where the file is loaded).
    size: bytes, 0 when not known.
    type, binding: STT_* and STB_*.
    version: the symbol's version (`GLIBC_2.14`), "" for none.
    default: whether the version is the one that new programs are linked with.
    dynamic: from .dynsym, so that other files can see it.
    """

    name: str
    value: int
    size: int
    type: int
    binding: int
    version: str = ""
    default: bool = True
    dynamic: bool = False

    @property
    def is_function(self) -> bool:
        return self.type in (STT_FUNC, STT_GNU_IFUNC)

    @property
    def is_ifunc(self) -> bool:
        """The value is of a resolver, which says at load time where the function is."""
        return self.type == STT_GNU_IFUNC

    @property
    def is_local(self) -> bool:
        return self.binding == STB_LOCAL

    def rank(self) -> tuple[int, int, int, int]:
        """Smaller is the better name for an address that has several."""
        underscores = len(self.name) - len(self.name.lstrip("_"))
        binding = {STB_GLOBAL: 0, STB_GNU_UNIQUE: 0, STB_WEAK: 1}.get(self.binding, 2)
        return (0 if self.is_function else 1, underscores, binding, len(self.name))
