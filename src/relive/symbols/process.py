"""Symbols of a live process: which files it has mapped where, names to addresses and back."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from relive.symbols import cache
from relive.symbols.errors import NotFound, NotYet, SymbolError
from relive.symbols.image import PF_X, Image
from relive.symbols.place import AtAddress, AtLine, AtSymbol, Place, parse
from relive.symbols.symbol import STT_TLS, Symbol
from relive.tracee.maps import PROT_EXEC, Mapping, read_maps

Read: TypeAlias = Callable[[int, int], bytes]
"""read(address, size): exactly `size` bytes of the process, or OSError."""

VDSO: Final = "vdso"

AT_ENTRY: Final = 9
AT_BASE: Final = 7


@dataclass(eq=False, slots=True)
class Module:
    """An ELF file that is mapped.  bias: what is added to the file's addresses."""

    image: Image
    bias: int
    path: str
    start: int
    end: int
    main: bool = False

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return self.path.rsplit("/", 1)[-1]

    def matches(self, text: str) -> bool:
        """Whether a person who writes `text` means this module."""
        name = self.name
        return text in (
            self.path,
            name,
            self.image.soname,
            name.split(".so")[0],
            name.split(".so")[0].split("-")[0],
            name.split(".")[0],
        )


@dataclass(frozen=True, slots=True)
class Location:
    """An address that a place stands for.

    name: for people (`libc.so.6:malloc+0x12`).  note: what else there is to know, "" for nothing.
    """

    address: int
    name: str
    module: Module | None = None
    symbol: Symbol | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Described:
    """What is known of an address.  offset: bytes behind the symbol, else into the module."""

    address: int
    module: Module | None
    symbol: Symbol | None
    offset: int
    file: str = ""
    line: int = 0

    @property
    def name(self) -> str:
        """`malloc+0x12`, `libc.so.6+0x1234`, or the bare address."""
        if self.symbol is not None:
            base = self.symbol.name
        elif self.module is not None:
            base = self.module.name
        else:
            return f"{self.address:#x}"
        return f"{base}+{self.offset:#x}" if self.offset else base

    @property
    def full_name(self) -> str:
        """The name with the module in front."""
        if self.symbol is not None and self.module is not None:
            return f"{self.module.name}:{self.name}"
        return self.name


@dataclass
class ProcessSymbols:
    """The modules of one process.  Call `refresh` after it has mapped or unmapped files.

    pid: of the process.  read: its memory; by default /proc/PID/mem, which needs the permission
    to trace it.
    """

    pid: int
    read: Read | None = None
    modules: list[Module] = field(default_factory=list)
    maps: list[Mapping] = field(default_factory=list)
    _failed: set[str] = field(default_factory=set)

    # -- modules

    def refresh(self) -> bool:
        """Look at the mappings again; whether the modules changed.  Raises OSError when gone."""
        self.maps = read_maps(self.pid)
        before = {(module.path, module.bias): module for module in self.modules}
        found: dict[tuple[str, int], Module] = {}
        main = self._main_file()
        for mapping in self.maps:
            if not mapping.prot & PROT_EXEC:
                continue
            image = self._image(mapping)
            bias = None if image is None else bias_of(image, mapping)
            if image is None or bias is None:
                continue
            path = mapping.name.removesuffix(" (deleted)").strip("[]")
            key = (path, bias)
            if key in found:
                continue
            ends = [segment.vaddr + segment.memsz for segment in image.segments]
            starts = [segment.vaddr for segment in image.segments]
            is_main = (mapping.dev, mapping.inode) == main or (
                mapping.inode != 0 and main is not None and mapping.inode == main[1]
            )
            found[key] = before.get(key) or Module(
                image, bias, path, bias + min(starts), bias + max(ends), is_main
            )
        self.modules = list(found.values())
        self._link_order()
        return found.keys() != before.keys()

    def _main_file(self) -> tuple[str, int] | None:
        try:
            status = Path(f"/proc/{self.pid}/exe").stat()
        except OSError:
            return None
        dev = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
        return dev, status.st_ino

    def _image(self, mapping: Mapping) -> Image | None:
        name = mapping.name
        if name == "[vdso]":
            try:
                return cache.from_bytes(self.memory(mapping.start, mapping.size), "[vdso]")
            except (OSError, SymbolError):
                return None
        if not mapping.inode or name in self._failed:
            return None
        plain = name.removesuffix(" (deleted)")
        ways = (
            f"/proc/{self.pid}/root{plain}",
            f"/proc/{self.pid}/map_files/{mapping.start:x}-{mapping.end:x}",
            f"/proc/{self.pid}/exe",
        )
        for way in ways:
            try:
                if Path(way).stat().st_ino == mapping.inode:
                    return cache.load(way, plain)
            except OSError:
                continue
            except SymbolError:
                break
        self._failed.add(name)
        return None

    def _link_order(self) -> None:
        """Put the modules in the order in which the dynamic linker looks for symbols.

        The vDSO comes last: programs call libc's function of the same name.
        """
        self.modules.sort(key=lambda m: (not m.main, m.path == VDSO))
        try:
            order = {bias: number for number, bias in enumerate(self.link_map())}
        except (OSError, struct.error):
            return
        last = len(order)
        self.modules.sort(key=lambda m: (not m.main, m.path == VDSO, order.get(m.bias, last)))

    def link_map(self) -> Iterator[int]:
        """Biases of the loaded files, in the dynamic linker's order (link.h, struct link_map)."""
        debug = self.r_debug()
        if not debug:
            return
        at = self._word(debug + 8)
        for _ in range(4096):
            if not at:
                return
            yield self._word(at)
            at = self._word(at + 24)

    def r_debug(self) -> int:
        """Address of the dynamic linker's struct r_debug (link.h), 0 while it is not set up.

        Raises OSError.
        """
        for module in self.modules:
            if not module.main:
                continue
            dynamic = module.image.segment("PT_DYNAMIC")
            if dynamic is None:
                return 0
            vaddr, size = dynamic
            data = self.memory(module.bias + vaddr, size)
            for tag, value in struct.iter_unpack("<QQ", data[: len(data) // 16 * 16]):
                if tag == 21:  # DT_DEBUG
                    return int(value)
                if tag == 0:
                    return 0
        return 0

    def auxiliary(self, kind: int) -> int:
        """An entry of the auxiliary vector (getauxval(3)), 0 when it is not there."""
        with open(f"/proc/{self.pid}/auxv", "rb") as file:
            data = file.read()
        for entry, value in struct.iter_unpack("<QQ", data[: len(data) // 16 * 16]):
            if entry == kind:
                return int(value)
        return 0

    def memory(self, address: int, size: int) -> bytes:
        """Bytes of the process.  Raises OSError."""
        if self.read is not None:
            return self.read(address, size)
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as file:
            data = os.pread(file.fileno(), size, address)
        if len(data) != size:
            raise OSError(f"{size} bytes at {address:#x} can't be read")
        return data

    def _word(self, address: int) -> int:
        return int.from_bytes(self.memory(address, 8), "little")

    # -- names to addresses

    def resolve(self, place: Place | str, *, early: bool = False) -> list[Location]:
        """All addresses that a place stands for, at least one.

        early: the libraries are not there yet, so the dynamic linker's own functions must not
        be taken for theirs: a symbol without a module is looked for in the program only.

        A symbol without a module is looked up as the dynamic linker does: the program first, then
        the libraries in their order; the first that has it, exported or not, counts.  Several
        static functions of that name in one module all count; so do the functions into which a
        line was inlined.  Raises NotFound, NotYet and SymbolError.
        """
        if isinstance(place, str):
            place = parse(place)
        match place:
            case AtAddress(address, ""):
                return [Location(address, self.describe(address).full_name)]
            case AtAddress(address, module_name):
                module = self._modules_called(module_name)[0]
                address += module.bias
                return [Location(address, self.describe(address).full_name, module)]
            case AtLine(file, line):
                return self._lines(file, line)
            case AtSymbol():
                return self._symbols(place, early)

    def _modules_called(self, name: str) -> list[Module]:
        found = [module for module in self.modules if module.matches(name)]
        if not found:
            raise NotFound(f"no file called '{name}' is mapped")
        return found

    def _lines(self, file: str, line: int) -> list[Location]:
        result = []
        for module in self.modules:
            lines = module.image.lines
            for place in lines.addresses(file, line) if lines else ():
                note = "" if place.line == line else f"line {line} has no code; {place.line} has"
                name = f"{file}:{place.line}"
                symbol = module.image.symbol_at(place.address)
                result.append(Location(module.bias + place.address, name, module, symbol, note))
        if result:
            nearest = min(abs(int(found.name.rpartition(":")[2]) - line) for found in result)
            return [
                found
                for found in result
                if abs(int(found.name.rpartition(":")[2]) - line) == nearest
            ]
        if any(module.image.lines for module in self.modules):
            raise NotFound(f"no mapped file has code of {file}:{line}")
        raise NotFound(
            f"no mapped file knows source lines, so {file}:{line} can't be found",
            "compile with -g or install the debug package",
        )

    def _symbols(self, place: AtSymbol, early: bool) -> list[Location]:
        modules = self._modules_called(place.module) if place.module else self.modules
        if early and not place.module:
            modules = [module for module in modules if module.main]
        for local in (False, True):
            for module in modules:
                found = [
                    symbol
                    for symbol in chosen(module.image, place.name, place.version)
                    if symbol.is_local == local
                ]
                if found:
                    return self._locations(module, found if local else found[:1], place.offset)
        where = f" in {modules[0].path}" if place.module else ""
        version = f"@{place.version}" if place.version else ""
        raise NotFound(f"no symbol '{place.name}{version}'{where}")

    def _locations(self, module: Module, symbols: list[Symbol], offset: int) -> list[Location]:
        result: dict[int, Location] = {}
        for symbol in symbols:
            if symbol.type == STT_TLS:
                raise SymbolError(
                    f"'{symbol.name}' is a thread-local variable: each thread has its own",
                    "give the address of the one you mean",
                )
            name = f"{module.name}:{symbol.name}"
            if symbol.version and not symbol.default:
                name += f"@{symbol.version}"
            if offset:
                name += f"+{offset:#x}"
            if symbol.is_ifunc:
                for address in self._implementations(module, symbol):
                    chosen_name = self.describe(address).name
                    note = f"an IFUNC; the program uses {chosen_name}"
                    result[address] = Location(address + offset, name, module, symbol, note)
            else:
                address = module.bias + symbol.value
                result[address] = Location(address + offset, name, module, symbol)
        return list(result.values())

    def _implementations(self, module: Module, symbol: Symbol) -> list[int]:
        """What the resolver of an IFUNC chose, found where the dynamic linker stored it."""
        exact: set[int] = set()
        named: set[int] = set()
        for holder in self.modules:
            for slot in holder.image.slots:
                if holder is module and slot.resolver == symbol.value:
                    into = exact
                elif slot.name == symbol.name:
                    into = named
                else:
                    continue
                try:
                    target = self._word(holder.bias + slot.address)
                except OSError:
                    continue
                vaddr = target - module.bias
                # Before it is bound, a slot leads back to its own file's table of jumps.
                if vaddr != symbol.value and module.image.executable(vaddr):
                    held = module.image.symbol_at(vaddr)
                    if held is not None or holder is not module:
                        into.add(target)
        found = exact or named
        if not found:
            raise NotYet(
                f"'{symbol.name}' is an IFUNC and nothing in the process uses it yet",
                "name the implementation you mean",
            )
        return sorted(found)

    # -- addresses to names

    def module_at(self, address: int) -> Module | None:
        """The module whose segments cover an address."""
        for module in self.modules:
            if module.start <= address < module.end:
                vaddr = address - module.bias
                for segment in module.image.segments:
                    if segment.vaddr <= vaddr < segment.vaddr + segment.memsz:
                        return module
        return None

    def describe(self, address: int, *, lines: bool = False) -> Described:
        """What an address belongs to; with `lines` the source line too, which may take longer."""
        module = self.module_at(address)
        if module is None:
            return Described(address, None, None, 0)
        vaddr = address - module.bias
        symbol = module.image.symbol_at(vaddr)
        offset = vaddr - (symbol.value if symbol else 0)
        if lines and module.image.lines is not None:
            found = module.image.lines.line_of(vaddr)
            if found is not None:
                return Described(address, module, symbol, offset, *found)
        return Described(address, module, symbol, offset)

    def is_code(self, address: int) -> bool:
        """Whether an address lies in an executable mapping."""
        return any(m.start <= address < m.end and m.prot & PROT_EXEC for m in self.maps)


def chosen(image: Image, name: str, version: str) -> list[Symbol]:
    """The symbols of that name that are meant: of that version, or of the default one.

    The exported ones first.  .symtab and .dynsym often name the same address: it comes once.
    """
    symbols = image.symbols.get(name, [])
    if version:
        symbols = [symbol for symbol in symbols if symbol.version == version]
    elif any(symbol.default for symbol in symbols):
        symbols = [symbol for symbol in symbols if symbol.default]
    return sorted(symbols, key=lambda symbol: not symbol.dynamic)


def bias_of(image: Image, mapping: Mapping) -> int | None:
    """What a mapping of code says of where the file's addresses are; None when nothing."""
    if mapping.name == "[vdso]":
        loads = image.segments
        return mapping.start - loads[0].vaddr if loads else None
    for segment in image.segments:
        if not segment.flags & PF_X:
            continue
        if segment.offset & ~4095 <= mapping.offset < segment.offset + segment.filesz:
            bias = mapping.start - mapping.offset + segment.offset - segment.vaddr
            return bias if bias >= 0 and not bias & 4095 else None
    return None
