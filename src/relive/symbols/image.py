"""One ELF file: its segments, symbols, build id and where its debugging information is."""

from __future__ import annotations

import bisect
import io
import lzma
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from elftools.elf.elffile import ELFFile

from relive.symbols.compressed import ELFCOMPRESS_ZLIB, decompressed
from relive.symbols.errors import SymbolError
from relive.symbols.symbol import (
    SHN_ABS,
    SHN_UNDEF,
    STT_FUNC,
    STT_GNU_IFUNC,
    STT_NOTYPE,
    STT_OBJECT,
    STT_TLS,
    Symbol,
)

if TYPE_CHECKING:
    from relive.symbols.dwarf.info import DebugInfo
    from relive.symbols.frames import FrameTable
    from relive.symbols.lines import LineTable

_SYM: Final = struct.Struct("<IBBHQQ")  # Elf64_Sym
_RELA: Final = struct.Struct("<QQq")  # Elf64_Rela
_WANTED: Final = frozenset((STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_GNU_IFUNC, STT_TLS))
_VERSION_HIDDEN: Final = 0x8000
_VERSION_LOCAL: Final = 0
_VERSION_GLOBAL: Final = 1

PF_X: Final = 1


R_X86_64_GLOB_DAT: Final = 6
R_X86_64_JUMP_SLOT: Final = 7
R_X86_64_IRELATIVE: Final = 37


@dataclass(frozen=True, slots=True)
class Segment:
    """A PT_LOAD: `filesz` bytes from `offset` in the file go to the file's address `vaddr`."""

    vaddr: int
    offset: int
    filesz: int
    memsz: int
    flags: int


@dataclass(frozen=True, slots=True)
class Slot:
    """A word that the dynamic linker fills with a function's address.

    address: of the word, in the file's addresses.  name: of the function ("" for IRELATIVE).
    resolver: file address of the IFUNC resolver, for IRELATIVE; else None.
    """

    address: int
    name: str
    resolver: int | None


class Image:
    """An ELF file for x86-64.

    Nothing is read before it is asked for, and then kept: use `relive.symbols.cache` to share.
    Raises SymbolError when the bytes are no 64-bit x86-64 ELF file.
    """

    def __init__(self, data: bytes, path: str) -> None:
        self.path = path
        self.data = data
        try:
            self.elf = ELFFile(io.BytesIO(data))
            machine = self.elf["e_machine"]
            if machine != "EM_X86_64" or self.elf.elfclass != 64:
                raise SymbolError(f"{path} is not for x86-64 ({machine})")
            self.entry: int = self.elf["e_entry"]
            self.relocatable: bool = self.elf["e_type"] == "ET_DYN"
            self._sections: dict[str, tuple[int, int, int]] = {}
            for section in self.elf.iter_sections():
                size = 0 if section["sh_type"] == "SHT_NOBITS" else section["sh_size"]
                place = (section["sh_offset"], size, section["sh_addr"])
                self._sections.setdefault(section.name, place)
        except SymbolError:
            raise
        except Exception as error:  # damaged: elftools asserts, overflows, subscripts None...
            raise SymbolError(f"{path} can't be read as an ELF file: {error}") from None

    def __repr__(self) -> str:
        return f"<Image {self.path}>"

    # -- layout

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        return tuple(
            Segment(s["p_vaddr"], s["p_offset"], s["p_filesz"], s["p_memsz"], s["p_flags"])
            for s in self.elf.iter_segments()
            if s["p_type"] == "PT_LOAD"
        )

    def segment(self, kind: str) -> tuple[int, int] | None:
        """File address and size in memory of the first program header of a type, or None."""
        for s in self.elf.iter_segments():
            if s["p_type"] == kind:
                return s["p_vaddr"], s["p_memsz"]
        return None

    def section(self, name: str) -> tuple[int, bytes] | None:
        """File address and contents (decompressed) of a section, or None."""
        old = name not in self._sections
        if old:  # how GNU tools compressed before the format had a way
            name = f".z{name[1:]}"
            if not name.startswith(".zdebug_") or name not in self._sections:
                return None
        offset, size, address = self._sections[name]
        data = self.data[offset : offset + size]
        section = self.elf.get_section_by_name(name)
        if section is not None and section.compressed:
            (kind,) = struct.unpack_from("<I", data)  # Elf64_Chdr
            data = decompressed(kind, data[24:])
        elif old:
            data = decompressed(ELFCOMPRESS_ZLIB, data[12:])
        return address, data

    @cached_property
    def is_go(self) -> bool:
        """Whether the Go linker made it: its code keeps nothing below the stack pointer, and its
        stacks may have little room."""
        return ".gopclntab" in self._sections or ".go.buildinfo" in self._sections

    def executable(self, vaddr: int) -> bool:
        """Whether a file address lies in code."""
        return any(s.flags & PF_X and s.vaddr <= vaddr < s.vaddr + s.memsz for s in self.segments)

    def read(self, vaddr: int, size: int) -> bytes:
        """Bytes of the file at a file address; fewer at the end of a segment."""
        for s in self.segments:
            if s.vaddr <= vaddr < s.vaddr + s.filesz:
                start = s.offset + vaddr - s.vaddr
                return self.data[start : min(start + size, s.offset + s.filesz)]
        return b""

    # -- identity

    @cached_property
    def build_id(self) -> str:
        """The build id in hexadecimal, "" for none."""
        found = self.section(".note.gnu.build-id")
        if found is None:
            return ""
        note = found[1]
        if len(note) < 16:
            return ""
        name_size, size, _ = struct.unpack_from("<III", note)
        start = 12 + (name_size + 3 & ~3)
        return note[start : start + size].hex()

    @cached_property
    def debug_link(self) -> tuple[str, int] | None:
        """Name and CRC-32 of the separate file with debugging information, or None."""
        found = self.section(".gnu_debuglink")
        if found is None or len(found[1]) < 8:
            return None
        name = found[1].split(b"\0", 1)[0]
        return name.decode(errors="surrogateescape"), int.from_bytes(found[1][-4:], "little")

    @cached_property
    def soname(self) -> str:
        """DT_SONAME, "" for none."""
        for entry in self._dynamic_entries():
            if entry[0] == "DT_SONAME":
                return entry[1]
        return ""

    @cached_property
    def interpreter(self) -> str:
        """Path of the dynamic linker, "" for a static program."""
        for s in self.elf.iter_segments():
            if s["p_type"] == "PT_INTERP":
                start = s["p_offset"]
                name = self.data[start : start + s["p_filesz"]].split(b"\0", 1)[0]
                return name.decode(errors="surrogateescape")
        return ""

    def _dynamic_entries(self) -> Iterator[tuple[str, str]]:
        from elftools.elf.dynamic import DynamicSegment

        for s in self.elf.iter_segments():
            if isinstance(s, DynamicSegment):
                for tag in s.iter_tags():
                    yield tag.entry.d_tag, getattr(tag, "soname", "")

    # -- symbols

    @cached_property
    def debug_image(self) -> Image | None:
        """The separate file with this one's symbols and lines, or None."""
        from relive.symbols.debugfiles import find

        return find(self)

    @cached_property
    def symbols(self) -> dict[str, list[Symbol]]:
        """All defined symbols by name: of .dynsym, .symtab, the debug file, .gnu_debugdata."""
        table: dict[str, list[Symbol]] = {}
        seen: set[tuple[str, int]] = set()
        for symbol in self._all_symbols():
            key = (symbol.name, symbol.value)
            if key not in seen:
                seen.add(key)
                table.setdefault(symbol.name, []).append(symbol)
        return table

    def _all_symbols(self) -> Iterator[Symbol]:
        yield from self._table(".dynsym", ".dynstr", self._versions())
        yield from self._table(".symtab", ".strtab", {})
        if ".symtab" not in self._sections:
            debug = self.debug_image
            if debug is not None:
                yield from debug._table(".symtab", ".strtab", {})
            small = self._small_debug_data()
            if small is not None:
                yield from small._table(".symtab", ".strtab", {})
        if ".dynsym" not in self._sections and ".symtab" not in self._sections:
            yield from self._from_dynamic_segment()

    def _small_debug_data(self) -> Image | None:
        """The compressed symbol table that some distributions put into their files."""
        found = self.section(".gnu_debugdata")
        if found is None:
            return None
        try:
            return Image(lzma.decompress(found[1]), self.path + " (.gnu_debugdata)")
        except (lzma.LZMAError, SymbolError):
            return None

    def _table(
        self, section: str, strings: str, versions: dict[int, tuple[str, bool]]
    ) -> Iterator[Symbol]:
        found, text = self.section(section), self.section(strings)
        if found is None or text is None:
            return
        names = text[1]
        dynamic = section == ".dynsym"
        usable = len(found[1]) // _SYM.size * _SYM.size
        for number, fields in enumerate(_SYM.iter_unpack(found[1][:usable])):
            name_at, info, _, index, value, size = fields
            kind = info & 15
            if index in (SHN_UNDEF, SHN_ABS) or kind not in _WANTED or not name_at:
                continue
            end = names.find(b"\0", name_at)
            name = names[name_at:end].decode(errors="surrogateescape")
            version, default = versions.get(number, ("", True))
            if "@" in name:  # .symtab spells versions out
                name, _, rest = name.partition("@")
                default = rest.startswith("@")
                version = rest.lstrip("@")
            yield Symbol(name, value, size, kind, info >> 4, version, default, dynamic)

    def _versions(self) -> dict[int, tuple[str, bool]]:
        """Version and whether it is the default, by index into .dynsym."""
        numbers, definitions = self.section(".gnu.version"), self.section(".gnu.version_d")
        strings = self.section(".dynstr")
        if numbers is None or definitions is None or strings is None:
            return {}
        names: dict[int, str] = {}
        at, data = 0, definitions[1]
        while at + 20 <= len(data):  # Elf64_Verdef and the first Elf64_Verdaux of each
            _, _, index, count, _, aux, following = struct.unpack_from("<HHHHIII", data, at)
            if count and at + aux + 8 <= len(data):
                name_at = struct.unpack_from("<I", data, at + aux)[0]
                end = strings[1].find(b"\0", name_at)
                names[index] = strings[1][name_at:end].decode(errors="surrogateescape")
            if not following:
                break
            at += following
        result = {}
        usable = len(numbers[1]) // 2 * 2
        for number, (word,) in enumerate(struct.iter_unpack("<H", numbers[1][:usable])):
            index = word & ~_VERSION_HIDDEN
            if index not in (_VERSION_LOCAL, _VERSION_GLOBAL) and index in names:
                result[number] = (names[index], not word & _VERSION_HIDDEN)
        return result

    def _from_dynamic_segment(self) -> Iterator[Symbol]:
        """Without section headers the dynamic linker's own tables are what is left."""
        from elftools.elf.dynamic import DynamicSegment

        kinds = {"STT_FUNC": STT_FUNC, "STT_OBJECT": STT_OBJECT, "STT_NOTYPE": STT_NOTYPE}
        binds = {"STB_LOCAL": 0, "STB_GLOBAL": 1, "STB_WEAK": 2}
        for s in self.elf.iter_segments():
            if not isinstance(s, DynamicSegment):
                continue
            for symbol in s.iter_symbols():
                kind = symbol["st_info"]["type"]
                if symbol["st_shndx"] == "SHN_UNDEF" or not symbol.name:
                    continue
                yield Symbol(
                    symbol.name,
                    symbol["st_value"],
                    symbol["st_size"],
                    kinds.get(kind, STT_GNU_IFUNC if kind == "STT_LOOS" else STT_NOTYPE),
                    binds.get(symbol["st_info"]["bind"], 1),
                    dynamic=True,
                )

    @cached_property
    def _by_address(self) -> tuple[list[int], list[Symbol]]:
        best: dict[int, Symbol] = {}
        for symbols in self.symbols.values():
            for symbol in symbols:
                if symbol.type not in (STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE, STT_OBJECT):
                    continue
                held = best.get(symbol.value)
                if held is None or symbol.rank() < held.rank():
                    best[symbol.value] = symbol
        addresses = sorted(best)
        return addresses, [best[address] for address in addresses]

    def symbol_at(self, vaddr: int) -> Symbol | None:
        """The symbol that covers a file address, or None.

        A symbol without a size reaches to the next one.
        """
        addresses, symbols = self._by_address
        at = bisect.bisect_right(addresses, vaddr) - 1
        # A sized symbol may hold labels of smaller ones: look back a little.
        for index in range(at, max(at - 8, -1), -1):
            symbol = symbols[index]
            if symbol.size and vaddr < symbol.value + symbol.size:
                return symbol
            if not symbol.size and index == at and symbol.type != STT_OBJECT:
                return symbol if self.executable(symbol.value) == self.executable(vaddr) else None
        return None

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The words that hold the addresses of functions after relocation."""
        result = []
        found, strings = self.section(".dynsym"), self.section(".dynstr")
        names = strings[1] if strings else b""
        symbols = found[1] if found else b""
        for section in (".rela.plt", ".rela.dyn", ".rela.iplt"):
            relocations = self.section(section)
            if relocations is None:
                continue
            usable = len(relocations[1]) // _RELA.size * _RELA.size
            for address, info, addend in _RELA.iter_unpack(relocations[1][:usable]):
                kind = info & 0xFFFFFFFF
                if kind == R_X86_64_IRELATIVE:
                    result.append(Slot(address, "", addend))
                elif kind in (R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT):
                    at = (info >> 32) * _SYM.size
                    if at + _SYM.size <= len(symbols):
                        name_at = _SYM.unpack_from(symbols, at)[0]
                        name = names[name_at : names.find(b"\0", name_at)]
                        result.append(Slot(address, name.decode(errors="surrogateescape"), None))
        return tuple(result)

    @cached_property
    def lines(self) -> LineTable | None:
        """Source lines, from this file or its debug file; None when there are none."""
        from relive.symbols.lines import LineTable

        for image in (self, self.debug_image):
            if image is not None and (
                ".debug_line" in image._sections or ".zdebug_line" in image._sections
            ):
                return LineTable(image)
        return None

    @cached_property
    def debug_info(self) -> DebugInfo | None:
        """Variables and types, from this file or its debug file; None when there are none.

        Raises SymbolError when what there is can't be read.
        """
        from relive.symbols.dwarf.info import DebugInfo

        for image in (self, self.debug_image):
            if image is not None and (
                ".debug_info" in image._sections or ".zdebug_info" in image._sections
            ):
                try:
                    return DebugInfo(image)
                except SymbolError:
                    raise
                except Exception as error:  # damaged, or compressed in a new way
                    raise SymbolError(
                        f"the debugging information of {image.path} can't be read: {error}"
                    ) from None
        return None

    @cached_property
    def frames(self) -> FrameTable:
        """The call frame information."""
        from relive.symbols.frames import FrameTable

        return FrameTable(self)
