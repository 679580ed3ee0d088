"""Call frame information: how to find the caller's registers at any address of a file.

Reads .eh_frame by the search table of .eh_frame_hdr, else .eh_frame or .debug_frame from one
end to the other, once.  Sources: LSB 5.0 core, chapter 10 (.eh_frame, .eh_frame_hdr); DWARF 5,
section 6.4.
"""

from __future__ import annotations

import bisect
import struct
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from relive.symbols.bytesreader import Reader

if TYPE_CHECKING:
    from relive.symbols.image import Image

# Pointer encodings (LSB, "DWARF Exception Header Encoding").
_ABSENT = 0xFF

RuleKind: TypeAlias = Literal["at", "is", "at_expression", "is_expression", "register", "same"]


@dataclass(frozen=True, slots=True)
class Rule:
    """Where a caller's register is.

    at: in memory, `number` bytes from the CFA.  is: CFA + `number` itself.  at_expression,
    is_expression: the same with a DWARF expression.  register: in the register `number`.
    same: not changed.
    """

    kind: RuleKind
    number: int = 0
    expression: bytes = b""


SAME: Final = Rule("same")


@dataclass(frozen=True, slots=True)
class UnwindRow:
    """The rules that hold at one address.

    cfa_register, cfa_offset: the canonical frame address, unless cfa_expression is not empty.
    rules: by DWARF register number; None: the caller's value is lost.
    return_register: its rule gives the return address.
    signal: the frame is the kernel's, of a signal handler's caller.
    """

    cfa_register: int
    cfa_offset: int
    cfa_expression: bytes
    rules: dict[int, Rule | None]
    return_register: int
    signal: bool


@dataclass(frozen=True, slots=True)
class _Common:
    """A CIE."""

    code_align: int
    data_align: int
    return_register: int
    encoding: int
    augmented: bool
    signal: bool
    start: int
    end: int


@dataclass(slots=True)
class _State:
    cfa_register: int = 7
    cfa_offset: int = 0
    cfa_expression: bytes = b""
    rules: dict[int, Rule | None] = field(default_factory=dict)

    def copy(self) -> _State:
        return replace(self, rules=dict(self.rules))


class _Section:
    """.eh_frame or .debug_frame."""

    def __init__(self, address: int, data: bytes, eh: bool) -> None:
        self.address = address
        self.data = data
        self.eh = eh
        self.commons: dict[int, _Common] = {}

    def common(self, offset: int) -> _Common:
        held = self.commons.get(offset)
        if held is None:
            held = self.commons[offset] = self._parse_common(offset)
        return held

    def _parse_common(self, offset: int) -> _Common:
        reader = Reader(self.data, offset)
        length, wide = reader.initial_length()
        end = reader.at + length
        reader.skip(8 if wide and not self.eh else 4)  # the mark of a CIE
        version = reader.u8()
        augmentation = reader.string()
        if version >= 4:
            reader.skip(2)
        if augmentation.startswith("eh"):
            reader.skip(8)
        code_align, data_align = reader.uleb(), reader.sleb()
        return_register = reader.u8() if version == 1 else reader.uleb()
        encoding = 0
        augmented = augmentation.startswith("z")
        if augmented:
            size = reader.uleb()
            start = reader.at + size
            for letter in augmentation[1:]:
                if letter == "R":
                    encoding = reader.u8()
                elif letter == "P":
                    self.pointer(reader, reader.u8(), 0)
                elif letter == "L":
                    reader.u8()
                elif letter not in "SB":
                    break
            reader.at = start
        return _Common(
            code_align, data_align, return_register, encoding, augmented,
            "S" in augmentation, reader.at, end,
        )  # fmt: skip

    def pointer(self, reader: Reader, encoding: int, function: int, base: int = 0) -> int:
        """An encoded pointer.  base: what data-relative ones are relative to."""
        if encoding == _ABSENT:
            return 0
        place = self.address + reader.at
        match encoding & 0x0F:
            case 0x00 | 0x04:
                value = reader.u64()
            case 0x01:
                value = reader.uleb()
            case 0x02:
                value = reader.u16()
            case 0x03:
                value = reader.u32()
            case 0x09:
                value = reader.sleb()
            case 0x0A:
                value = reader.s16()
            case 0x0B:
                value = reader.s32()
            case 0x0C:
                value = reader.s64()
            case _:
                raise ValueError(f"pointer encoding {encoding:#x}")
        match encoding & 0x70:
            case 0x10:
                value += place
            case 0x30:
                value += base
            case 0x40:
                value += function
        return value & (1 << 64) - 1

    def describe(self, offset: int) -> tuple[int, int, _Common, int, int] | None:
        """Of the FDE at an offset: start and size of its code, CIE, its instructions' place."""
        reader = Reader(self.data, offset)
        length, wide = reader.initial_length()
        if not length:
            return None
        end = reader.at + length
        at = reader.at
        pointer = reader.u64() if wide and not self.eh else reader.u32()
        if pointer == (0 if self.eh else (1 << 64) - 1 if wide else 0xFFFFFFFF):
            return None  # a CIE
        common = self.common(at - pointer if self.eh else pointer)
        start = self.pointer(reader, common.encoding, 0)
        size = self.pointer(reader, common.encoding & 0x0F, 0)
        if common.augmented:
            reader.skip(reader.uleb())
        return start, size, common, reader.at, end

    def scan(self) -> list[tuple[int, int, int]]:
        """Start, end and offset of every FDE."""
        result = []
        offset = 0
        while offset + 4 <= len(self.data):
            reader = Reader(self.data, offset)
            length, _ = reader.initial_length()
            if not length and self.eh:
                break
            try:
                found = self.describe(offset)
            except (struct.error, IndexError, ValueError):
                found = None
            if found is not None and found[1]:
                result.append((found[0], found[0] + found[1], offset))
            offset = reader.at + length
        result.sort()
        return result


class FrameTable:
    """The call frame information of one image."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._rows: dict[int, UnwindRow | None] = {}

    def row(self, vaddr: int) -> UnwindRow | None:
        """The rules at a file address, or None when nothing is known of it."""
        if vaddr not in self._rows:
            try:
                self._rows[vaddr] = self._find(vaddr)
            except (struct.error, IndexError, ValueError):
                self._rows[vaddr] = None  # damaged, or newer than this code
        return self._rows[vaddr]

    def _find(self, vaddr: int) -> UnwindRow | None:
        for section, search in ((self._eh, self._search_eh), (self._debug, self._search_debug)):
            if section is None:
                continue
            offset = search(vaddr)
            if offset is None:
                continue
            found = section.describe(offset)
            if found is not None and found[0] <= vaddr < found[0] + found[1]:
                return _execute(section, found, vaddr)
        return None

    @cached_property
    def _eh(self) -> _Section | None:
        found = self._image.section(".eh_frame")
        return _Section(*found, True) if found else None

    @cached_property
    def _debug(self) -> _Section | None:
        for image in (self._image, self._image.debug_image):
            found = image.section(".debug_frame") if image else None
            if found:
                return _Section(*found, False)
        return None

    def _search_eh(self, vaddr: int) -> int | None:
        assert self._eh is not None
        table = self._header
        if table is not None:
            starts, offsets = table
            at = bisect.bisect_right(starts, vaddr) - 1
            return offsets[at] if at >= 0 else None
        return _search(self._eh_scan, vaddr)

    def _search_debug(self, vaddr: int) -> int | None:
        return _search(self._debug_scan, vaddr)

    @cached_property
    def _eh_scan(self) -> list[tuple[int, int, int]]:
        return self._eh.scan() if self._eh else []

    @cached_property
    def _debug_scan(self) -> list[tuple[int, int, int]]:
        return self._debug.scan() if self._debug else []

    @cached_property
    def _header(self) -> tuple[list[int], list[int]] | None:
        """The sorted search table: starts of code, offsets into .eh_frame."""
        found = self._image.section(".eh_frame_hdr")
        section = self._eh
        if found is None or section is None:
            return None
        address, data = found
        if len(data) < 12 or data[0] != 1 or data[3] != 0x3B:  # others are not made by linkers
            return None
        header = _Section(address, data, True)
        reader = Reader(data, 4)
        header.pointer(reader, data[1], 0, address)
        count = header.pointer(reader, data[2], 0, address)
        body = data[reader.at : reader.at + 8 * count]
        words = memoryview(body[: len(body) // 8 * 8]).cast("i").tolist()
        shift = address - section.address
        return [address + word for word in words[::2]], [shift + word for word in words[1::2]]


def _search(scan: list[tuple[int, int, int]], vaddr: int) -> int | None:
    at = bisect.bisect_right(scan, (vaddr, 1 << 65, 0)) - 1
    if at < 0 or vaddr >= scan[at][1]:
        return None
    return scan[at][2]


def _execute(section: _Section, found: tuple[int, int, _Common, int, int], vaddr: int) -> UnwindRow:
    """Run the instructions of a CIE and an FDE up to an address."""
    start, _, common, at, end = found
    state = _State()
    _run(section, Reader(section.data, common.start, common.end), common, state, None, start, vaddr)
    initial = state.copy()
    _run(section, Reader(section.data, at, end), common, state, initial, start, vaddr)
    return UnwindRow(
        state.cfa_register, state.cfa_offset, state.cfa_expression, state.rules,
        common.return_register, common.signal,
    )  # fmt: skip


def _run(
    section: _Section,
    reader: Reader,
    common: _Common,
    state: _State,
    initial: _State | None,
    location: int,
    vaddr: int,
) -> None:
    stack: list[_State] = []
    code, data = common.code_align, common.data_align
    rules = state.rules

    def restore(register: int) -> None:
        if initial is not None and register in initial.rules:
            rules[register] = initial.rules[register]
        else:
            rules.pop(register, None)

    while reader.at < reader.end:
        opcode = reader.u8()
        high, low = opcode & 0xC0, opcode & 0x3F
        if high == 0x40:  # advance_loc
            location += low * code
            if location > vaddr:
                return
        elif high == 0x80:  # offset
            rules[low] = Rule("at", reader.uleb() * data)
        elif high == 0xC0:  # restore
            restore(low)
        else:
            match opcode:
                case 0x00:  # nop
                    pass
                case 0x01:  # set_loc
                    location = section.pointer(reader, common.encoding, 0)
                    if location > vaddr:
                        return
                case 0x02 | 0x03 | 0x04:  # advance_loc1, 2, 4
                    step = (reader.u8, reader.u16, reader.u32)[opcode - 2]()
                    location += step * code
                    if location > vaddr:
                        return
                case 0x05:  # offset_extended
                    register = reader.uleb()
                    rules[register] = Rule("at", reader.uleb() * data)
                case 0x06:  # restore_extended
                    restore(reader.uleb())
                case 0x07:  # undefined
                    rules[reader.uleb()] = None
                case 0x08:  # same_value
                    rules[reader.uleb()] = SAME
                case 0x09:  # register
                    register = reader.uleb()
                    rules[register] = Rule("register", reader.uleb())
                case 0x0A:  # remember_state
                    stack.append(state.copy())
                case 0x0B:  # restore_state
                    held = stack.pop()
                    state.cfa_register, state.cfa_offset = held.cfa_register, held.cfa_offset
                    state.cfa_expression = held.cfa_expression
                    rules.clear()
                    rules.update(held.rules)
                case 0x0C | 0x12:  # def_cfa, def_cfa_sf
                    state.cfa_register, state.cfa_expression = reader.uleb(), b""
                    state.cfa_offset = reader.uleb() if opcode == 0x0C else reader.sleb() * data
                case 0x0D:  # def_cfa_register
                    state.cfa_register, state.cfa_expression = reader.uleb(), b""
                case 0x0E:  # def_cfa_offset
                    state.cfa_offset = reader.uleb()
                case 0x13:  # def_cfa_offset_sf
                    state.cfa_offset = reader.sleb() * data
                case 0x0F:  # def_cfa_expression
                    state.cfa_expression = _block(reader)
                case 0x10:  # expression
                    register = reader.uleb()
                    rules[register] = Rule("at_expression", 0, _block(reader))
                case 0x16:  # val_expression
                    register = reader.uleb()
                    rules[register] = Rule("is_expression", 0, _block(reader))
                case 0x11:  # offset_extended_sf
                    register = reader.uleb()
                    rules[register] = Rule("at", reader.sleb() * data)
                case 0x14:  # val_offset
                    register = reader.uleb()
                    rules[register] = Rule("is", reader.uleb() * data)
                case 0x15:  # val_offset_sf
                    register = reader.uleb()
                    rules[register] = Rule("is", reader.sleb() * data)
                case 0x2E:  # GNU_args_size
                    reader.uleb()
                case 0x2F:  # GNU_negative_offset_extended
                    register = reader.uleb()
                    rules[register] = Rule("at", -reader.uleb() * data)
                case _:
                    raise ValueError(f"call frame instruction {opcode:#x}")


def _block(reader: Reader) -> bytes:
    size = reader.uleb()
    block = reader.data[reader.at : reader.at + size]
    reader.skip(size)
    return block
