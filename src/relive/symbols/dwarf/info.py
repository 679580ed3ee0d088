"""The debugging information of one file: units by address, entries by name.

A file may have millions of entries, so none is read that is not asked for.  A unit is found by
.debug_aranges, else by the ranges that every unit's first entry gives.  A name is found by
searching the bytes of .debug_info for what refers to it (the string itself, its place in
.debug_str, its index), and looking whether an entry's name is there.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from relive.symbols import aranges
from relive.symbols.dwarf import dies, skim
from relive.symbols.dwarf.dies import NAMESPACES, STRUCTURES, UNITS
from relive.symbols.dwarf.opening import open_dwarf

if TYPE_CHECKING:
    from elftools.dwarf.compileunit import CompileUnit
    from elftools.dwarf.die import DIE
    from elftools.dwarf.dwarfinfo import DWARFInfo
    from elftools.dwarf.typeunit import TypeUnit

    from relive.symbols.image import Image

TYPES: Final = (
    *STRUCTURES,
    "DW_TAG_enumeration_type",
    "DW_TAG_typedef",
    "DW_TAG_base_type",
    "DW_TAG_unspecified_type",
)
_NAMED: Final = frozenset((*TYPES, "DW_TAG_variable", "DW_TAG_enumerator", "DW_TAG_constant"))
_STRX: Final = {"DW_FORM_strx1": 1, "DW_FORM_strx2": 2, "DW_FORM_strx3": 3, "DW_FORM_strx4": 4}
_MANY: Final = 32
"""Places of a string from which on looking at all entries is quicker."""
_CODES: Final = 3
"""Bytes of an abbreviation's number, at most."""


class Span(NamedTuple):
    """Addresses of the file from `start` up to, not including, `end`."""

    start: int
    end: int


class DebugInfo:
    """What .debug_info of a file and the sections beside it say.

    Errors of damaged sections are those of pyelftools: whatever it raises.
    """

    def __init__(self, image: Image) -> None:
        self.path = image.path
        self.dwarf: DWARFInfo = open_dwarf(image)
        self.shared = _shared(image)
        if self.shared is not None:
            self.dwarf.supplementary_dwarfinfo = self.shared.dwarf
        self._named: dict[str, list[DIE]] = {}
        self._names: dict[int, dict[int, tuple[int, str]]] = {}
        self._plans: dict[int, dict[int, skim.Plan]] = {}
        self._entries_outside: dict[int, set[int]] = {}

    # -- units

    @cached_property
    def units(self) -> list[CompileUnit]:
        return list(self.dwarf.iter_CUs())

    @cached_property
    def _offsets(self) -> list[int]:
        return [unit.cu_offset for unit in self.units]

    def unit_at(self, vaddr: int) -> CompileUnit | None:
        """The unit with the code at a file address."""
        for source in ("_listed", "_scanned"):  # the second one is made only if it is needed
            table: list[tuple[int, int, int]] = getattr(self, source)
            at = bisect.bisect_right(table, (vaddr, 1 << 65, 0)) - 1
            if at >= 0 and vaddr < table[at][1]:
                return self.dwarf.get_CU_at(table[at][2])
        return None

    @cached_property
    def _listed(self) -> list[tuple[int, int, int]]:
        return aranges.ranges(_bytes(self.dwarf.debug_aranges_sec))

    @cached_property
    def _scanned(self) -> list[tuple[int, int, int]]:
        found = []
        for unit in self.units:
            for span in self.ranges(unit.get_top_DIE()):
                found.append((span.start, span.end, unit.cu_offset))
        found.sort()
        return found

    def ranges(self, die: DIE) -> list[Span]:
        """The code of an entry."""
        whole = dies.low_and_high(die)
        if whole is not None:
            return [Span(*whole)] if whole[0] < whole[1] else []
        listed = die.attributes.get("DW_AT_ranges")
        lists = self.dwarf.range_lists()
        if listed is None or lists is None:
            return []
        unit = cast("CompileUnit", die.cu)  # units of types have no code
        entries = lists.get_range_list_at_offset(listed.value, unit)
        return [span for span, _ in _spans(entries, _base(die.cu))]

    def location_list(self, die: DIE, attribute: str) -> list[tuple[Span | None, bytes]]:
        """Where a location list says that something is; None: wherever no other entry holds."""
        lists = self.dwarf.location_lists()
        if lists is None:
            return []
        entries: list[Any] = lists.get_location_list_at_offset(die.attributes[attribute].value, die)
        found: list[tuple[Span | None, bytes]] = []
        for span, entry in _spans(entries, _base(die.cu)):
            found.append((span, bytes(entry.loc_expr)))
        found += [
            (None, bytes(entry.loc_expr))
            for entry in entries
            if getattr(entry, "begin_offset", 0) == -1
        ]
        return found

    # -- names

    def named(self, name: str) -> list[DIE]:
        """The variables, types and enumerators of that name outside of functions."""
        held = self._named.get(name)
        if held is None:
            found = {die.offset: die for die in self._search(name)}
            held = self._named[name] = [die for die in found.values() if dies.name(die) == name]
            if self.shared is not None:
                held += self.shared.named(name)
        return held

    @cached_property
    def _info(self) -> bytes:
        return _bytes(self.dwarf.debug_info_sec)

    def _search(self, name: str) -> Iterator[DIE]:
        word = name.encode(errors="surrogateescape") + b"\0"
        for position in _find(self._info, word):
            yield from self._entries(position, "DW_FORM_string")
        offsets = self._strings(word)
        if len(offsets) > _MANY:
            yield from self._referring(frozenset(offsets))
            return
        if self.shared is not None:  # names of definitions here may be there
            for offset in self.shared._strings(word):
                for position in _find(self._info, offset.to_bytes(4, "little")):
                    for form in ("DW_FORM_GNU_strp_alt", "DW_FORM_strp_sup"):
                        yield from self._entries(position, form)
        for offset in offsets:
            pattern = offset.to_bytes(4, "little")
            for position in _find(self._info, pattern):
                yield from self._entries(position, "DW_FORM_strp")
            for place in _find(self._indices, pattern):
                yield from self._indexed(place)

    def _referring(self, offsets: frozenset[int]) -> Iterator[DIE]:
        """The entries whose name is one of many places in .debug_str."""
        data, indices = self._info, self._indices
        bases = {unit.cu_offset: base for base, unit in self._index_bases} if indices else {}
        for unit in self.units:
            names = self._names_of(unit)
            base = bases.get(unit.cu_offset)
            for entry in sorted(self._outside(unit)):
                code, at = skim.leb(data, entry)
                prefix, form = names.get(code, (0, ""))
                at += prefix
                if form == "DW_FORM_strp":
                    place = int.from_bytes(data[at : at + 4], "little")
                elif base is None or not form.startswith("DW_FORM_strx"):
                    continue
                else:
                    size = _STRX.get(form, 0)
                    number = data[at : at + size]
                    index = int.from_bytes(number, "little") if size else skim.leb(data, at)[0]
                    place = int.from_bytes(
                        indices[base + 4 * index : base + 4 * index + 4], "little"
                    )
                if place in offsets:
                    yield unit.get_DIE_from_refaddr(entry)

    def _strings(self, word: bytes) -> list[int]:
        """Where a string is in .debug_str."""
        data = _bytes(self.dwarf.debug_str_sec)
        whole = [at for at in _find(data, word) if not at or not data[at - 1]]
        # Linkers let a string be the end of a longer one, if it is not there itself.
        return whole or list(_find(data, word))

    @cached_property
    def _indices(self) -> bytes:
        return _bytes(self.dwarf.debug_str_offsets_sec)

    @cached_property
    def _index_bases(self) -> list[tuple[int, CompileUnit]]:
        found = []
        for unit in self.units:
            base = dies.own(unit.get_top_DIE(), "DW_AT_str_offsets_base")
            if base is not None:
                found.append((int(base), unit))
        found.sort(key=lambda entry: entry[0])
        return found

    def _indexed(self, place: int) -> Iterator[DIE]:
        """The entries with the string at a place of .debug_str_offsets."""
        at = bisect.bisect_right(self._index_bases, place, key=lambda entry: entry[0])
        if not at:
            return
        base = self._index_bases[at - 1][0]
        index, rest = divmod(place - base, 4)
        if rest:
            return
        # One table may serve several units.
        for unit in [unit for start, unit in self._index_bases if start == base]:
            start, end = unit.cu_offset, unit.cu_offset + unit.size
            for form, size in _STRX.items():
                if index < 1 << 8 * size:
                    for position in _find(self._info, index.to_bytes(size, "little"), start, end):
                        yield from self._entries(position, form)
            for position in _find(self._info, _uleb(index), start, end):
                yield from self._entries(position, "DW_FORM_strx")

    def _entries(self, position: int, form: str) -> Iterator[DIE]:
        """The entry whose name is at a position of .debug_info, if there is one."""
        at = bisect.bisect_right(self._offsets, position) - 1
        if at < 0:
            return
        unit = self.units[at]
        names = self._names_of(unit)
        first = unit.cu_die_offset
        for prefix in {prefix for prefix, its_form in names.values() if its_form == form}:
            end = position - prefix
            for size in range(1, _CODES + 1):
                start = end - size
                if start < first:
                    break
                looks_so = names.get(_number(self._info[start:end])) == (prefix, form)
                if looks_so and start in self._outside(unit):  # else local, or no entry at all
                    yield unit.get_DIE_from_refaddr(start)

    def _outside(self, unit: CompileUnit) -> set[int]:
        """The named entries of a unit that are outside of functions."""
        held = self._entries_outside.get(unit.cu_offset)
        if held is None:
            held = skim.outside_of_functions(self._info, unit, self._plans_of(unit), _NAMED)
            self._entries_outside[unit.cu_offset] = held
        return held

    def _plans_of(self, unit: CompileUnit) -> dict[int, skim.Plan]:
        table = unit.header["debug_abbrev_offset"]
        held = self._plans.get(table)
        if held is None:
            data = _bytes(self.dwarf.debug_abbrev_sec)
            held = self._plans[table] = skim.plans(data, table, unit.dwarf_format() == 64)
        return held

    def _names_of(self, unit: CompileUnit) -> dict[int, tuple[int, str]]:
        """By abbreviation: how far behind its number a name comes, and its form."""
        table = unit.header["debug_abbrev_offset"]
        held = self._names.get(table)
        if held is None:
            held = self._names[table] = {
                code: plan.name
                for code, plan in self._plans_of(unit).items()
                if plan.name is not None and plan.tag in _NAMED
            }
        return held

    def near(self, unit: CompileUnit) -> Iterator[str]:
        """The names of a unit's variables and enumerators, to tell what there is."""
        for die in unit.get_top_DIE().iter_children():
            if die.tag == "DW_TAG_variable":
                yield dies.name(die)
            elif die.tag == "DW_TAG_enumeration_type":
                yield from map(dies.name, die.iter_children())


def _shared(image: Image) -> DebugInfo | None:
    """What several debug files have in common, as dwz moves it into a file of its own."""
    from relive.symbols.debugfiles import find_shared

    other = find_shared(image)
    return None if other is None else other.debug_info


def file_level(unit: CompileUnit) -> Iterator[DIE]:
    """The entries of a unit outside of functions, namespaces and classes looked into."""
    pending = [unit.get_top_DIE()]
    while pending:
        for die in pending.pop().iter_children():
            yield die
            if die.tag in NAMESPACES or die.tag in STRUCTURES:
                pending.append(die)


def completing(die: DIE) -> DIE | None:
    """The definition in the same unit of a variable that an entry declares, if it has a place."""
    for other in file_level(cast("CompileUnit", die.cu)):
        if {"DW_AT_specification", "DW_AT_location"} <= other.attributes.keys() and dies.target(
            other, "DW_AT_specification"
        ).offset == die.offset:
            return other
    return None


def _base(unit: CompileUnit | TypeUnit) -> int:
    """What offsets in a unit's lists are relative to."""
    top = unit.get_top_DIE()
    return int(dies.own(top, "DW_AT_low_pc") or 0) if top.tag in UNITS else 0


def _spans(entries: Any, base: int) -> Iterator[tuple[Span, Any]]:
    for entry in entries:
        if hasattr(entry, "base_address"):
            base = entry.base_address
        elif entry.begin_offset == -1:
            continue
        else:
            shift = 0 if entry.is_absolute else base
            span = Span(entry.begin_offset + shift, entry.end_offset + shift)
            if span.start < span.end:
                yield span, entry


def _bytes(section: Any) -> bytes:
    """The contents of a section of pyelftools."""
    if section is None:
        return b""
    data = section.stream.getvalue()
    assert isinstance(data, bytes)
    return data


def _find(data: bytes, pattern: bytes, start: int = 0, end: int | None = None) -> Iterator[int]:
    at = data.find(pattern, start, end)
    while at >= 0:
        yield at
        at = data.find(pattern, at + 1, end)


def _uleb(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _number(code: bytes) -> int:
    """A ULEB128 number that takes all of some bytes, else -1."""
    if code[-1] & 0x80 or any(not byte & 0x80 for byte in code[:-1]):
        return -1
    value = 0
    for byte in reversed(code):
        value = value << 7 | byte & 0x7F
    return value
