"""Source lines and addresses: the DWARF line tables, versions 2 to 5.

A decoder of its own, because a big program has millions of rows and a person waits.
Source: DWARF 5, section 6.2 (version 5) and DWARF 4, section 6.2 (2 to 4).
"""

from __future__ import annotations

import bisect
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from relive.symbols.aranges import ranges
from relive.symbols.bytesreader import Reader

if TYPE_CHECKING:
    from elftools.dwarf.dwarfinfo import DWARFInfo

    from relive.symbols.image import Image

# Standard opcodes.
_COPY, _ADVANCE_PC, _ADVANCE_LINE, _SET_FILE, _SET_COLUMN, _NEGATE_STMT = range(1, 7)
_BASIC_BLOCK, _CONST_ADD_PC, _FIXED_ADVANCE_PC, _PROLOGUE_END, _EPILOGUE, _SET_ISA = range(7, 13)
# Extended opcodes.
_END_SEQUENCE, _SET_ADDRESS, _DEFINE_FILE, _SET_DISCRIMINATOR = range(1, 5)
# Content types of version 5 tables.
_LNCT_PATH, _LNCT_DIRECTORY = 1, 2


class Row(NamedTuple):  # a tuple, because there are millions
    """One row: from `address` (of the file) on, code belongs to `line` of file number `file`."""

    address: int
    file: int
    line: int
    is_stmt: bool
    end: bool


@dataclass(frozen=True, slots=True)
class Unit:
    """The header of one line-number program.  files: paths by number, "" where there is none."""

    offset: int
    start: int
    end: int
    minimum: int
    default_stmt: bool
    line_base: int
    line_range: int
    opcode_base: int
    lengths: tuple[int, ...]
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LinePlace:
    """Where a line begins: file address, path and the line (which may follow the one asked for)."""

    address: int
    path: str
    line: int


class LineTable:
    """The line tables of one image.  Decoded unit by unit, as needed."""

    def __init__(self, image: Image) -> None:
        self._image = image
        found = image.section(".debug_line")
        self._data: Final = found[1] if found else b""
        self._rows: dict[int, list[Row]] = {}

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        return tuple(self._headers())

    def addresses(self, file: str, line: int) -> list[LinePlace]:
        """Where the code of a line begins, once for each function that has code of it.

        file: a path, or the last parts of one.  A line without code stands for the next one
        that has some.  Empty when no such file or no later line is known.
        """
        rows: list[tuple[int, str, int]] = []
        for unit in self.units:
            wanted = {n: path for n, path in enumerate(unit.files) if ends_with(path, file)}
            if wanted:
                rows += [
                    (row.address, wanted[row.file], row.line)
                    for row in self._decoded(unit)
                    if row.file in wanted and row.is_stmt and not row.end and row.line >= line
                ]
        if not rows:
            return []
        nearest = min(row[2] for row in rows)
        places: dict[int, LinePlace] = {}
        for address, path, found in sorted(rows):
            if found == nearest:
                function = self._image.symbol_at(address)
                key = function.value if function else address
                places.setdefault(key, LinePlace(address, path, found))
        return sorted(places.values(), key=lambda place: place.address)

    def line_of(self, vaddr: int) -> tuple[str, int] | None:
        """Path and line of a file address, or None."""
        unit = self._unit_of(vaddr)
        if unit is None:
            return None
        rows = self._decoded(unit)
        at = bisect.bisect_right(self._starts(unit), vaddr) - 1
        if at < 0 or rows[at].end or not rows[at].line:
            return None
        row = rows[at]
        return (unit.files[row.file] if row.file < len(unit.files) else "", row.line)

    def body(self, start: int, end: int) -> int | None:
        """Where the body of a function from `start` to `end` begins, as debuggers take it: at its
        second line.  The instructions before save registers and store parameters.  None when
        no line is known to begin inside."""
        unit = self._unit_of(start)
        if unit is None:
            return None
        rows, starts = self._decoded(unit), self._starts(unit)
        for row in rows[bisect.bisect_right(starts, start) :]:
            if row.address >= end or row.end:
                return None
            if row.is_stmt:
                return row.address
        return None

    # -- which unit

    def _unit_of(self, vaddr: int) -> Unit | None:
        listed = self._listed_unit(vaddr)
        if listed is not None:
            return listed
        starts, entries = self._ranges
        at = bisect.bisect_right(starts, vaddr) - 1
        if at < 0 or vaddr >= entries[at][0]:
            return None
        return entries[at][1]

    def _listed_unit(self, vaddr: int) -> Unit | None:
        """By .debug_aranges, which spares decoding everything; None when it does not say."""
        starts, entries = self._aranges
        at = bisect.bisect_right(starts, vaddr) - 1
        if at < 0 or vaddr >= entries[at][0]:
            return None
        program = self._program_of(entries[at][1])
        if program is None:
            return None
        return self._unit_at(program)

    def _program_of(self, info: int) -> int | None:
        """Offset of the line program of the compilation unit at an offset of .debug_info."""
        try:
            unit = self._dwarf.get_CU_at(info)
            attribute = unit.get_top_DIE().attributes.get("DW_AT_stmt_list")
        except Exception:  # damaged: elftools asserts, overflows, subscripts None...
            return None
        return None if attribute is None else int(attribute.value)

    @cached_property
    def _dwarf(self) -> DWARFInfo:
        from relive.symbols.dwarf.opening import open_dwarf

        return open_dwarf(self._image)

    @cached_property
    def _aranges(self) -> tuple[list[int], list[tuple[int, int]]]:
        """Starts of code, and for each its end and its unit's offset (DWARF 5, 6.1.2)."""
        found = self._image.section(".debug_aranges")
        listed = ranges(found[1] if found else b"")
        return [start for start, _, _ in listed], [(stop, info) for _, stop, info in listed]

    @cached_property
    def _ranges(self) -> tuple[list[int], list[tuple[int, Unit]]]:
        """Starts of the ranges of code, and for each its end and unit."""
        found = []
        for unit in self.units:
            start = -1
            for row in self._decoded(unit):
                if start < 0:
                    start = row.address
                if row.end:
                    if row.address > start:
                        found.append((start, row.address, unit))
                    start = -1
        found.sort(key=lambda entry: entry[:2])
        return [start for start, _, _ in found], [(end, unit) for _, end, unit in found]

    def _starts(self, unit: Unit) -> list[int]:
        held = self._row_starts.get(unit.offset)
        if held is None:
            held = self._row_starts[unit.offset] = [row.address for row in self._decoded(unit)]
        return held

    @cached_property
    def _row_starts(self) -> dict[int, list[int]]:
        return {}

    # -- headers

    def _headers(self) -> Iterator[Unit]:
        offset = 0
        while offset + 4 <= len(self._data):
            reader = Reader(self._data, offset)
            length, _ = reader.initial_length()
            end = reader.at + length
            if not length or end > len(self._data):
                return
            unit = self._unit_at(offset)
            if unit is not None:
                yield unit
            offset = end

    def _unit_at(self, offset: int) -> Unit | None:
        """The header at an offset; None for one that is damaged, or newer than this code."""
        if offset not in self._units:
            try:
                self._units[offset] = self._header(offset)
            except (struct.error, IndexError, ValueError):
                self._units[offset] = None
        return self._units[offset]

    @cached_property
    def _units(self) -> dict[int, Unit | None]:
        return {}

    def _header(self, offset: int) -> Unit | None:
        reader = Reader(self._data, offset)
        length, wide = reader.initial_length()
        end = reader.at + length
        version = reader.u16()
        if not 2 <= version <= 5:
            return None
        if version >= 5:
            reader.skip(2)  # address and segment selector size
        start = reader.offset(wide)
        start += reader.at
        minimum = reader.u8()
        if version >= 4:
            reader.skip(1)  # operations per instruction: 1, this is no VLIW
        default_stmt = bool(reader.u8())
        line_base, line_range, opcode_base = reader.s8(), reader.u8(), reader.u8()
        lengths = tuple(reader.u8() for _ in range(opcode_base - 1))
        files = self._files5(reader, wide) if version >= 5 else self._files4(reader)
        return Unit(
            offset, start, end, minimum, default_stmt,
            line_base, line_range, opcode_base, lengths, tuple(files),
        )  # fmt: skip

    @staticmethod
    def _files4(reader: Reader) -> list[str]:
        folders = [""]
        while name := reader.string():
            folders.append(name)
        files = [""]  # numbers begin with 1
        while name := reader.string():
            folder = reader.uleb()
            reader.uleb()
            reader.uleb()
            files.append(_join(folders[folder] if folder < len(folders) else "", name))
        return files

    def _files5(self, reader: Reader, wide: bool) -> list[str]:
        folders = [name for name, _ in self._entries5(reader, wide)]
        base = folders[0] if folders else ""
        folders = [_join(base, folder) for folder in folders]
        return [
            _join(folders[number] if number < len(folders) else "", name)
            for name, number in self._entries5(reader, wide)
        ]

    def _entries5(self, reader: Reader, wide: bool) -> list[tuple[str, int]]:
        formats = [(reader.uleb(), reader.uleb()) for _ in range(reader.u8())]
        entries = []
        for _ in range(reader.uleb()):
            name, folder = "", 0
            for content, form in formats:
                value = self._form(reader, form, wide)
                if content == _LNCT_PATH and isinstance(value, str):
                    name = value
                elif content == _LNCT_DIRECTORY and isinstance(value, int):
                    folder = value
            entries.append((name, folder))
        return entries

    def _form(self, reader: Reader, form: int, wide: bool) -> str | int:
        match form:
            case 0x08:  # string
                return reader.string()
            case 0x1F:  # line_strp
                return self._string(".debug_line_str", reader.offset(wide))
            case 0x0E:  # strp
                return self._string(".debug_str", reader.offset(wide))
            case 0x0F:  # udata
                return reader.uleb()
            case 0x0B:  # data1
                return reader.u8()
            case 0x05:  # data2
                return reader.u16()
            case 0x06:  # data4
                return reader.u32()
            case 0x07:  # data8
                return reader.u64()
            case 0x1E:  # data16: an MD5 sum
                reader.skip(16)
                return 0
            case 0x09:  # block
                reader.skip(reader.uleb())
                return 0
            case _:
                raise ValueError(f"form {form:#x} in a line table")

    def _string(self, section: str, offset: int) -> str:
        if section not in self._strings:
            found = self._image.section(section)
            self._strings[section] = found[1] if found else b""
        data = self._strings[section]
        end = data.find(b"\0", offset)
        return data[offset : end if end >= 0 else None].decode(errors="surrogateescape")

    @cached_property
    def _strings(self) -> dict[str, bytes]:
        return {}

    # -- rows

    def _decoded(self, unit: Unit) -> list[Row]:
        """The rows of a unit, sorted by address, sequences that were linked away left out."""
        held = self._rows.get(unit.offset)
        if held is None:
            sequences: list[list[Row]] = []
            current: list[Row] = []
            try:
                for row in self._run(unit):
                    current.append(row)
                    if row.end:
                        if self._image.executable(current[0].address):
                            sequences.append(current)
                        current = []
            except (struct.error, IndexError):
                pass  # damaged: what was read so far is kept
            sequences.sort(key=lambda rows: rows[0].address)
            held = self._rows[unit.offset] = [row for rows in sequences for row in rows]
        return held

    def _run(self, unit: Unit) -> Iterator[Row]:
        reader = Reader(self._data, unit.start, unit.end)
        address, file, line, stmt = 0, 1, 1, unit.default_stmt
        const_add = (255 - unit.opcode_base) // unit.line_range * unit.minimum
        while reader.at < unit.end:
            opcode = reader.u8()
            if opcode >= unit.opcode_base:
                step = opcode - unit.opcode_base
                address += step // unit.line_range * unit.minimum
                line += unit.line_base + step % unit.line_range
                yield Row(address, file, line, stmt, False)
            elif opcode == 0:
                length = reader.uleb()
                after = reader.at + length
                extended = reader.u8()
                if extended == _END_SEQUENCE:
                    yield Row(address, file, line, stmt, True)
                    address, file, line, stmt = 0, 1, 1, unit.default_stmt
                elif extended == _SET_ADDRESS:
                    address = reader.u64()
                reader.at = after
            elif opcode == _COPY:
                yield Row(address, file, line, stmt, False)
            elif opcode == _ADVANCE_PC:
                address += reader.uleb() * unit.minimum
            elif opcode == _ADVANCE_LINE:
                line += reader.sleb()
            elif opcode == _SET_FILE:
                file = reader.uleb()
            elif opcode == _NEGATE_STMT:
                stmt = not stmt
            elif opcode == _CONST_ADD_PC:
                address += const_add
            elif opcode == _FIXED_ADVANCE_PC:
                address += reader.u16()
            else:  # nothing that matters here: skip its arguments
                for _ in range(unit.lengths[opcode - 1]):
                    reader.uleb()


def ends_with(path: str, wanted: str) -> bool:
    """Whether the last parts of a path are `wanted`: b/c.c ends a/b/c.c but not a/bb/c.c."""
    return path == wanted or path.endswith("/" + wanted.removeprefix("./"))


def _join(folder: str, name: str) -> str:
    if not folder or name.startswith("/"):
        return name
    return f"{folder}/{name}"
