"""What C (and what is like it in C++, Rust and Go) knows of a type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from relive.symbols.dwarf import dies
from relive.symbols.errors import SymbolError

if TYPE_CHECKING:
    from elftools.dwarf.die import DIE

Encoding: TypeAlias = Literal["signed", "unsigned", "bool", "float", "complex", "other"]

_ENCODINGS: Final[dict[int, Encoding]] = {
    1: "unsigned", 2: "bool", 3: "complex", 4: "float", 5: "signed", 6: "signed",
    7: "unsigned", 8: "unsigned", 9: "complex", 0x0F: "float", 0x10: "unsigned",
}  # fmt: skip
"""DW_ATE_* (DWARF 5, 7.8)."""

_QUALIFIERS: Final = (
    "DW_TAG_const_type",
    "DW_TAG_volatile_type",
    "DW_TAG_restrict_type",
    "DW_TAG_atomic_type",
    "DW_TAG_immutable_type",
    "DW_TAG_packed_type",
    "DW_TAG_shared_type",
)
_REFERENCES: Final = ("DW_TAG_reference_type", "DW_TAG_rvalue_reference_type")
_KINDS: Final = {
    "DW_TAG_structure_type": "struct",
    "DW_TAG_class_type": "class",
    "DW_TAG_union_type": "union",
}


@dataclass(frozen=True)
class Void:
    """No type; the target of void pointers.  name: also of types that are not described."""

    name: str = "void"
    size: int | None = None


@dataclass(frozen=True)
class Base:
    """A number.  size: bytes."""

    name: str
    size: int
    encoding: Encoding


@dataclass(frozen=True)
class Function:
    """Code."""

    name: str
    size: int | None = None


class Pointer:
    """A pointer; with `reference` it stands for what it points to."""

    def __init__(self, die: DIE | None, target: CType | None = None, name: str = "") -> None:
        self._die = die
        self._target = target
        self._name = name
        self.reference = die is not None and die.tag in _REFERENCES
        self.size = 8

    @cached_property
    def target(self) -> CType:
        if self._target is not None or self._die is None:
            return self._target or Void()
        if self._die.tag == "DW_TAG_ptr_to_member_type":
            return Void("a member")
        return target_of(self._die)

    @property
    def name(self) -> str:
        if self._name:
            return self._name
        mark = "&" if self.reference else "*"
        name = self.target.name
        return f"{name}{mark}" if name.endswith(("*", "&")) else f"{name} {mark}"


@dataclass(frozen=True)
class Array:
    """Elements in a row.  count: how many, None when that is not known."""

    element: CType
    count: int | None
    vector: bool = False

    @property
    def size(self) -> int | None:
        each = self.element.size
        return None if each is None or self.count is None else each * self.count

    @property
    def name(self) -> str:
        dimensions, inner = "", self.element
        while isinstance(inner, Array):
            dimensions += f"[{'' if inner.count is None else inner.count}]"
            inner = inner.element
        return f"{inner.name}[{'' if self.count is None else self.count}]{dimensions}"


@dataclass(frozen=True, slots=True)
class Enum:
    """An enumeration.  values: the enumerators."""

    name: str
    size: int
    signed: bool
    values: dict[str, int]


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a structure.

    offset: in bytes.  bits: for a bit-field its lowest bit, counted from the beginning of the
    structure, and its width; else None.  base: it is a class that the structure inherits.
    """

    name: str
    type: CType
    offset: int
    bits: tuple[int, int] | None = None
    base: bool = False


class Struct:
    """A structure, union or class.

    kind: which of them.  known: whether its members are (and not only its name).
    """

    def __init__(self, die: DIE) -> None:
        self.die = die
        self.kind = _KINDS[str(die.tag)]
        self.plain = dies.name(die)
        self.known = not dies.is_declaration(die)
        self.size = dies.value(die, "DW_AT_byte_size") if self.known else None
        self.by_reference = dies.value(die, "DW_AT_calling_convention") == 4
        """DW_CC_pass_by_reference: a C++ class with a copy constructor of its own."""

    @cached_property
    def has_methods(self) -> bool:
        """Whether it has functions of its own: a constructor may be among them."""
        return any(die.tag == "DW_TAG_subprogram" for die in self.die.iter_children())

    @property
    def name(self) -> str:
        return f"{self.kind} {self.plain or '(unnamed)'}"

    @cached_property
    def members(self) -> tuple[Member, ...]:
        """In their order.  Raises SymbolError for one whose place has to be computed."""
        try:
            return tuple(self._members())
        except SymbolError:
            raise
        except Exception as error:  # elftools asserts, overflows, subscripts None...
            raise SymbolError(f"the members of {self.name} can't be read: {error!r}") from None

    def _members(self) -> Iterator[Member]:
        for die in self.die.iter_children():
            if die.tag == "DW_TAG_variant_part":
                raise SymbolError(
                    f"{self.name} has variants, whose members are not known",
                    "load from its address: u32[addr(...) + offset]",
                )
            if die.tag not in ("DW_TAG_member", "DW_TAG_inheritance"):
                continue
            if "DW_AT_external" in die.attributes or dies.is_declaration(die):
                continue  # a static member of C++
            base = die.tag == "DW_TAG_inheritance"
            type_die = dies.type_of(die)
            name = dies.name(die)
            offset = _offset(die)
            if offset is None:
                continue  # of a virtual base class: only the object itself knows
            if "DW_AT_bit_size" not in die.attributes:
                yield Member(name, of(type_die), offset, None, base)
                continue
            width = dies.constant(die, "DW_AT_bit_size") or 0
            yield Member(name, of(type_die), offset, (_lowest(die, offset, width, type_die), width))

    def listed(self) -> list[str]:
        """Names of the members, those of unnamed members and of base classes included."""
        names: list[str] = []
        for member in self.members:
            if isinstance(member.type, Struct) and (member.base or not member.name):
                names += member.type.listed()
            elif member.name:
                names.append(member.name)
        return names

    def find(self, name: str) -> Member | None:
        """The member of that name; one of an unnamed member or a base class with its offset
        here; a base class by its own name.  Raises SymbolError when it is one of several."""
        for member in self.members:
            if member.name == name and not member.base:
                return member
        found: list[Member] = []
        for member in self.members:
            if isinstance(member.type, Struct) and (member.base or not member.name):
                if member.base and member.type.plain == name:
                    return Member(name, member.type, member.offset)
                inner = member.type.find(name)
                if inner is not None:
                    bits = inner.bits
                    if bits is not None:
                        bits = (bits[0] + 8 * member.offset, bits[1])
                    found.append(Member(name, inner.type, inner.offset + member.offset, bits))
        if len(found) > 1:
            bases = [m.type.plain for m in self.members if isinstance(m.type, Struct) and m.base]
            raise SymbolError(
                f"{name} is a member of several base classes of {self.name}",
                f"write ['{bases[0]}'].{name} for the one of that class",
            )
        return found[0] if found else None


CType: TypeAlias = Void | Base | Function | Pointer | Array | Enum | Struct


def of(die: DIE | None) -> CType:
    """The type that an entry describes; typedefs and qualifiers seen through.

    Raises SymbolError for a kind of type that is not known, and for a damaged description.
    """
    try:
        return _unwrapped(die)
    except SymbolError:
        raise
    except Exception as error:  # elftools asserts, overflows, subscripts None...
        raise SymbolError(f"the description of a type can't be read: {error!r}") from None


def target_of(die: DIE) -> CType:
    """The type that an entry refers to.  Raises SymbolError for a damaged description."""
    try:
        found = dies.type_of(die)
    except Exception as error:  # elftools asserts, overflows, subscripts None...
        raise SymbolError(f"the description of a type can't be read: {error!r}") from None
    return of(found)


def _unwrapped(die: DIE | None) -> CType:
    for _ in range(64):
        if die is None:
            return Void()
        if die.tag != "DW_TAG_typedef" and die.tag not in _QUALIFIERS:
            break
        die = dies.type_of(die)
    assert die is not None
    return _of(die)


def _of(die: DIE) -> CType:
    size = dies.value(die, "DW_AT_byte_size")
    match die.tag:
        case "DW_TAG_base_type":
            encoding = _ENCODINGS.get(dies.value(die, "DW_AT_encoding"), "other")
            return Base(dies.name(die), size or 0, encoding)
        case "DW_TAG_pointer_type" | "DW_TAG_ptr_to_member_type":
            return Pointer(die)
        case "DW_TAG_reference_type" | "DW_TAG_rvalue_reference_type":
            return Pointer(die)
        case "DW_TAG_structure_type" | "DW_TAG_class_type" | "DW_TAG_union_type":
            return Struct(die)
        case "DW_TAG_array_type":
            return _array(die)
        case "DW_TAG_enumeration_type":
            return _enum(die, size)
        case "DW_TAG_subroutine_type" | "DW_TAG_subprogram":
            return Function("a function")
        case "DW_TAG_unspecified_type":
            return Void(dies.name(die))
        case "DW_TAG_subrange_type":
            return of(dies.type_of(die))
    raise SymbolError(f"a type of this kind is not known ({die.tag})")


def _array(die: DIE) -> CType:
    element = of(dies.type_of(die))
    counts: list[int | None] = []
    for dimension in die.iter_children():
        if dimension.tag != "DW_TAG_subrange_type":
            continue
        count = dies.constant(dimension, "DW_AT_count")
        upper = dimension.attributes.get("DW_AT_upper_bound")
        # A reference or an expression gives the bound of an array of variable length.
        if (
            count is None
            and upper is not None
            and not upper.form.startswith(("DW_FORM_ref", "DW_FORM_exprloc", "DW_FORM_block"))
        ):
            lower = dies.constant(dimension, "DW_AT_lower_bound") or 0
            count = (upper.value & (1 << 64) - 1) - lower + 1
            count = 0 if count == 1 << 64 else count
        counts.append(count)
    for count in reversed(counts or [None]):
        element = Array(element, count, bool(dies.own(die, "DW_AT_GNU_vector")))
    return element


def _enum(die: DIE, size: int | None) -> Enum:
    below = dies.type_of(die)
    signed = False
    if below is not None:
        inner = of(below)
        signed = isinstance(inner, Base) and inner.encoding == "signed"
        size = size or inner.size
    size = size or 4
    values: dict[str, int] = {}
    for child in die.iter_children():
        if child.tag == "DW_TAG_enumerator":
            number = dies.constant(child, "DW_AT_const_value")
            if number is not None:
                values[dies.name(child)] = number
    if below is None:
        signed = any(number < 0 for number in values.values())
    mask = (1 << 8 * size) - 1
    for name, number in values.items():
        number &= mask
        if signed and number >> 8 * size - 1:
            number -= mask + 1
        values[name] = number
    return Enum(dies.name(die), size, signed, values)


def _offset(die: DIE) -> int | None:
    """Bytes from the beginning of the structure to a member; None when it is computed."""
    found = die.attributes.get("DW_AT_data_member_location")
    if found is None:
        return 0
    if isinstance(found.value, int):
        return found.value
    expression = bytes(found.value)  # DWARF 2 and 3: plus_uconst, or for a virtual base anything
    if expression[:1] == b"\x23":
        from relive.symbols.bytesreader import Reader

        reader = Reader(expression, 1)
        offset = reader.uleb()
        return offset if reader.at == len(expression) else None
    return None


def _lowest(die: DIE, offset: int, width: int, type_die: DIE | None) -> int:
    """The lowest bit of a bit-field, counted from the beginning of the structure."""
    bit = dies.constant(die, "DW_AT_data_bit_offset")
    if bit is not None:  # DWARF 4 and 5
        return bit + 8 * (offset if "DW_AT_data_member_location" in die.attributes else 0)
    high = dies.constant(die, "DW_AT_bit_offset")
    if high is None:
        return 8 * offset
    # DWARF 2 and 3: counted from the highest bit of the unit of storage; less than 0 (a big number
    # as clang writes it) when the field ends behind the unit
    high -= 1 << 64 if high >= 1 << 63 else 0
    storage = dies.constant(die, "DW_AT_byte_size") or of(type_die).size or 4
    return 8 * offset + 8 * storage - high - width
