"""Where a function's parameters are before its first instruction.

Compilers describe where unoptimised code keeps parameters *after* it has stored them.  Before,
they are where the caller put them: System V ABI, AMD64 supplement 1.0, section 3.2.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from relive.symbols.dwarf.types import Array, Base, CType, Enum, Pointer, Struct

INTEGERS: Final = (5, 4, 1, 2, 8, 9)
"""DWARF numbers of rdi rsi rdx rcx r8 r9."""
_VECTORS: Final = 8

C_LANGUAGES: Final = frozenset((
    0x01, 0x02, 0x04, 0x0C, 0x10, 0x11, 0x1A, 0x1D, 0x21, 0x2B, 0x2C, 0x2D, 0x2E,
))  # fmt: skip
"""DW_LANG_* of C, C++ and Objective-C, whose functions follow the ABI."""


@dataclass(frozen=True, slots=True)
class Passed:
    """A parameter.

    registers: DWARF numbers of the general registers that hold it, eight bytes each.
    stack: else, bytes behind the return address' place in the stack.  indirect: what is there is
    its address.  Neither: it is in a vector register.
    certain: the place in the stack is known and not guessed.
    """

    registers: tuple[int, ...] = ()
    stack: int | None = None
    indirect: bool = False
    certain: bool = True


def passed(parameters: Sequence[CType], result: CType) -> list[Passed]:
    """How parameters of these types are passed.

    Raises ValueError for a type whose class is not known.
    """
    integers, vectors, stack = list(INTEGERS), _VECTORS, 8
    certain = True
    if classes(result) is None and not _empty(result):
        integers.pop(0)  # the caller says where the result is to be stored
    found: list[Passed] = []
    for kind in parameters:
        if isinstance(kind, Struct) and kind.by_reference:
            if integers:
                found.append(Passed((integers.pop(0),), indirect=True))
            else:
                found.append(Passed(stack=stack, indirect=True, certain=certain))
                stack += 8
            continue
        wanted = classes(kind)
        count = 0 if wanted is None else wanted.count("integer")
        others = 0 if wanted is None else wanted.count("vector")
        if wanted is not None and count <= len(integers) and others <= vectors:
            registers = tuple(integers[:count])
            del integers[:count]
            vectors -= others
            found.append(Passed(registers if not others else ()))
            continue
        size = kind.size or 0
        if _alignment(kind) > 8:
            stack = (stack - 8 + 15 & ~15) + 8
            # Debugging information does not say whether a structure is packed.
            certain = certain and not isinstance(kind, Struct | Array)
        found.append(Passed(stack=stack, certain=certain))
        stack += size + 7 & ~7
    return found


def _empty(kind: CType) -> bool:
    return not kind.size


def classes(kind: CType) -> list[str] | None:
    """A class for each eight bytes of a value; None: it is passed in memory.

    Raises ValueError when it is not known.
    """
    size = kind.size
    if not size:
        if isinstance(kind, Struct) and not kind.known:
            raise ValueError(f"{kind.name} is incomplete")
        return None
    if isinstance(kind, Array) and kind.vector:
        return ["vector"]
    if size > 16:
        return None
    found: list[str | None] = [None] * ((size + 7) // 8)
    return [one or "none" for one in found] if _classify(kind, 0, found) else None


def _classify(kind: CType, offset: int, found: list[str | None]) -> bool:
    """Note the classes of a part; whether it can be in registers."""
    match kind:
        case Base(name, size, encoding):
            if encoding == "other":
                raise ValueError(f"how a {name} is passed is not known")
            if encoding == "float" and size == 16 and "long double" in name:
                return False  # the x87's: in memory when it is passed
            if encoding in ("float", "complex"):
                parts = ["vector"] if size <= 8 or encoding == "float" else ["vector"] * 2
                if encoding == "complex" and size > 16:
                    return False
            else:
                parts = ["integer"] * ((size + 7) // 8)
            if offset % min(size, 8):
                return False
            for number, part in enumerate(parts):
                _merge(found, offset // 8 + number, part)
        case Pointer() | Enum():
            if offset % kind.size:
                return False
            _merge(found, offset // 8, "integer")
        case Array(element, count):
            each = element.size
            if not each or count is None:
                return False
            return all(_classify(element, offset + n * each, found) for n in range(count))
        case Struct():
            if kind.by_reference:
                return False
            for member in kind.members:
                if member.bits is not None:
                    first, width = member.bits
                    for bit in (first, first + max(width, 1) - 1):
                        _merge(found, (8 * offset + bit) // 64, "integer")
                elif member.type.size and not _classify(member.type, offset + member.offset, found):
                    return False
        case _:
            raise ValueError(f"how {kind.name} is passed is not known")
    return True


def _merge(found: list[str | None], at: int, part: str) -> None:
    if at < len(found) and found[at] != "integer":
        found[at] = part


def _alignment(kind: CType) -> int:
    match kind:
        case Base(_, size, _):
            return min(size, 16) or 1
        case Array(element, _):
            return _alignment(element)
        case Struct():
            return max((_alignment(member.type) for member in kind.members), default=1)
        case _:
            return 8
