"""Symbols, lines and stacks of compiled programs, held against nm, gdb and the programs."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from relive import _core, live
from relive.symbols import cache, debugfiles
from relive.symbols.errors import NotFound, SymbolError
from relive.symbols.image import Image
from relive.symbols.process import ProcessSymbols
from relive.symbols.unwind import Frame

SOURCE = Path(__file__).parent / "programs" / "deep.c"
VARIANTS = {
    "plain": ["-O2", "-g"],
    "static": ["-O2", "-g", "-static"],
    "fixed address": ["-O2", "-g", "-no-pie"],
    "frame pointers": ["-O1", "-fno-omit-frame-pointer"],
    "no optimisation": ["-O0", "-gdwarf-4"],
    "old lines": ["-O2", "-gdwarf-2", "-gno-inline-points"],
    "compressed": ["-O2", "-g", "-gz=zlib"],
    "debug_frame": ["-O2", "-g", "-static", "-fno-asynchronous-unwind-tables"],
}
Build = Callable[..., Path]


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    made: dict[tuple[str, ...], Path] = {}

    def get(*options: str) -> Path:
        if options not in made:
            place = tmp_path_factory.mktemp("deep") / "deep"
            subprocess.run(["cc", *options, "-o", place, SOURCE], check=True, timeout=60)
            made[options] = place
        return made[options]

    return get


@contextmanager
def running(program: Path) -> Iterator[int]:
    """The program, at its `bottom`: its process id."""
    process = subprocess.Popen([program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        for _ in range(500):  # until it sleeps in pause
            if Path(f"/proc/{process.pid}/syscall").read_text().split()[0] in ("34", "271"):
                break
            time.sleep(0.01)
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def backtrace(pid: int, *, lines: bool = True) -> list[Frame]:
    with live.Session() as session:
        process = session.attach(pid)
        with session.paused():
            return process.unwinder.backtrace(_core.getregs(pid), lines=lines)


def names(frames: list[Frame]) -> list[str]:
    return [frame.described.symbol.name if frame.described.symbol else "?" for frame in frames]


@pytest.mark.parametrize("variant", VARIANTS)
def test_backtrace(build: Build, variant: str) -> None:
    """Out of a handler on another stack, through libc and a frame larger than a page."""
    if variant == "debug_frame":
        pytest.importorskip("elftools")
    program = build(*VARIANTS[variant])
    with running(program) as pid:
        frames = backtrace(pid)
    found = names(frames)
    wanted = ["bottom", "handler", "compare", *["recursive"] * 4, "dynamic", "main"]
    own = [name.partition(".")[0] for name in found]
    assert [name for name in own if name in wanted] == wanted, found
    assert "_start" in found[-1] or "libc_start" in found[-1] or variant == "debug_frame", found
    assert any(frame.signal for frame in frames)


def test_backtrace_is_what_gdb_says(build: Build) -> None:
    gdb = shutil.which("gdb")
    if gdb is None:
        pytest.skip("no gdb")
    program = build(*VARIANTS["plain"])
    with running(program) as pid:
        frames = backtrace(pid)
        command = [gdb, "-nx", "-batch", "-p", str(pid), "-ex", "frame apply all -q p/x $pc"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    theirs = [int(word, 16) for word in re.findall(r"^\$\d+ = (0x[0-9a-f]+)", done, re.M)]
    # gdb lists inlined functions besides, and callers that have left by a jump (tail calls)
    main = names(frames).index("main")
    rest = iter(theirs)
    assert all(frame.pc in rest for frame in frames[: main + 1]), (theirs, frames)


def test_stripped(build: Build, tmp_path: Path) -> None:
    """Without symbols the stack is still unwound; exported functions have names."""
    stripped = tmp_path / "deep"
    subprocess.run(["strip", "-o", stripped, build("-O2", "-rdynamic")], check=True)
    with running(stripped) as pid:
        frames = backtrace(pid)
        symbols = ProcessSymbols(pid)
        symbols.refresh()
        with pytest.raises(NotFound):
            symbols.resolve("handler")
        assert symbols.resolve("bottom")[0].module is symbols.modules[0]
    assert names(frames).count("recursive") == 4
    assert "main" in names(frames)


def test_debug_files(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By build id, by link beside the program, and not one of another build."""
    full = build("-O2", "-g", "-Wl,--build-id")
    debug, program = tmp_path / "deep.debug", tmp_path / "bin" / "deep"
    program.parent.mkdir()
    subprocess.run(["objcopy", "--only-keep-debug", full, debug], check=True)
    link = f"--add-gnu-debuglink={debug}"
    subprocess.run(["objcopy", "--strip-all", link, full, program], check=True)
    bare = Image(program.read_bytes(), str(program))
    assert "handler" not in bare.symbols
    (program.parent / ".debug").mkdir()
    (program.parent / ".debug" / "deep.debug").write_bytes(debug.read_bytes())
    linked = Image(program.read_bytes(), str(program))
    assert "handler" in linked.symbols
    (program.parent / ".debug" / "deep.debug").unlink()
    root = tmp_path / "debug"
    place = root / ".build-id" / bare.build_id[:2] / f"{bare.build_id[2:]}.debug"
    place.parent.mkdir(parents=True)
    place.write_bytes(debug.read_bytes())
    monkeypatch.setattr(debugfiles, "ROOTS", (root,))
    by_id = Image(program.read_bytes(), str(program))
    assert "handler" in by_id.symbols
    assert by_id.lines is not None
    assert by_id.lines.addresses("deep.c", _line("bottom();"))
    other = build("-O1", "-g", "-Wl,--build-id")
    subprocess.run(["objcopy", "--only-keep-debug", other, place], check=True)
    assert "handler" not in Image(program.read_bytes(), str(program)).symbols


def _line(text: str) -> int:
    lines = SOURCE.read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


@pytest.mark.parametrize("variant", ["plain", "old lines", "no optimisation", "compressed"])
def test_lines_both_ways(build: Build, variant: str) -> None:
    image = cache.load(build(*VARIANTS[variant]))
    assert image.lines is not None
    line = _line("memset(large")
    for spelled in ("deep.c", "programs/deep.c", str(SOURCE)):
        places = image.lines.addresses(spelled, line)
        assert [place.line for place in places] == [line], spelled
    symbol = image.symbol_at(places[0].address)
    assert symbol is not None
    assert symbol.name == "recursive"
    found = image.lines.line_of(places[0].address)
    assert found is not None
    assert (Path(found[0]).name, found[1]) == ("deep.c", line)
    assert image.lines.addresses("eep.c", line) == []
    assert image.lines.addresses("deep.c", 100000) == []
    blank = _line("__attribute__((noinline)) int recursive") - 1
    assert {place.line for place in image.lines.addresses("deep.c", blank)} <= {
        blank + 1,
        blank + 2,
    }


def test_line_without_aranges_is_the_same(build: Build, tmp_path: Path) -> None:
    program = build(*VARIANTS["plain"])
    bare = tmp_path / "deep"
    subprocess.run(["objcopy", "--remove-section", ".debug_aranges", program, bare], check=True)
    one, other = cache.load(program).lines, Image(bare.read_bytes(), str(bare)).lines
    assert one is not None
    assert other is not None
    image = cache.load(program)
    for name in ("bottom", "main", "recursive", "dynamic", "handler"):
        symbol = image.symbols[name][0]
        for address in range(symbol.value, symbol.value + symbol.size, 3):
            assert one.line_of(address) == other.line_of(address)
            assert one.line_of(address) is not None


def test_symbols_are_those_of_nm(build: Build) -> None:
    program = build(*VARIANTS["plain"])
    output = subprocess.run(["nm", program], capture_output=True, text=True, check=True).stdout
    listed = {
        (name.partition("@")[0], int(value, 16))
        for value, kind, name in (line.split() for line in output.splitlines() if line[0] != " ")
        if kind not in "aAuU"
    }
    ours = {
        (symbol.name, symbol.value)
        for symbols in cache.load(program).symbols.values()
        for symbol in symbols
    }
    assert listed <= ours


def test_process(build: Build) -> None:
    """Names to addresses and back, in the program, libraries and the vDSO."""
    program = build(*VARIANTS["plain"])
    with running(program) as pid:
        symbols = ProcessSymbols(pid)
        assert symbols.refresh()
        assert not symbols.refresh()
        main = symbols.resolve("main")[0]
        assert symbols.describe(main.address + 3).full_name == "deep:main+0x3"
        assert symbols.resolve("main+0x3")[0].address == main.address + 3
        assert symbols.resolve(f"{main.address + 3:#x}")[0].name == "deep:main+0x3"
        malloc = symbols.resolve("malloc")[0]
        assert malloc == symbols.resolve("libc:malloc")[0]
        assert malloc.name.endswith(":malloc")
        (copy,) = symbols.resolve("libc:memcpy")
        (old,) = symbols.resolve("libc:memcpy@GLIBC_2.2.5")
        assert "IFUNC" in copy.note
        assert not old.note
        assert copy.address != old.address
        assert symbols.is_code(copy.address)
        assert "mem" in symbols.describe(copy.address).name
        vdso = symbols.resolve("vdso:__vdso_getcpu")[0]
        assert vdso.module is not None
        assert vdso.module.path == "vdso"
        line = symbols.resolve(f"deep.c:{_line('memset(large')}")[0]
        assert line.symbol is not None
        assert line.symbol.name == "recursive"
        offset = malloc.address - malloc.module.bias if malloc.module else 0
        assert symbols.resolve(f"libc:{offset:#x}")[0].address == malloc.address
        for wrong in ("nosuch", "libc:main", "nolib:malloc", "nosuch.c:3", "malloc@V_9"):
            with pytest.raises(NotFound):
                symbols.resolve(wrong)
        with pytest.raises(SymbolError, match="thread-local"):
            symbols.resolve("libc:errno")


def test_a_deleted_program_has_symbols(build: Build, tmp_path: Path) -> None:
    program = tmp_path / "deep"
    shutil.copy(build(*VARIANTS["plain"]), program)
    with running(program) as pid:
        program.unlink()
        symbols = ProcessSymbols(pid)
        symbols.refresh()
        assert symbols.resolve("bottom")[0].module is symbols.modules[0]


def test_what_is_no_elf_file(tmp_path: Path) -> None:
    for content in (b"", b"#!/bin/sh\n", b"\x7fELF" + b"\0" * 60, os.urandom(1000)):
        path = tmp_path / "file"
        path.write_bytes(content)
        with pytest.raises(SymbolError):
            cache.load(path)


def test_damaged_files_do_no_harm(build: Build) -> None:
    """Bytes changed anywhere: an error of ours, or some other answer; never anything else."""
    import random

    data = build(*VARIANTS["plain"]).read_bytes()
    chance = random.Random(7)
    for _ in range(60):
        broken = bytearray(data)
        for _ in range(chance.choice((1, 20, 400))):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        try:
            image = Image(bytes(broken[: chance.choice((len(broken), len(broken) // 2))]), "broken")
            list(image.symbols.items())
            image.symbol_at(0x1234)
            assert image.build_id is not None
            if image.lines is not None:
                image.lines.addresses("deep.c", 30)
                image.lines.line_of(0x1234)
            list(image.slots)
        except SymbolError:
            continue
    assert signal.SIGSEGV  # the interpreter is still there
