"""How cheaply a replay could stop at a place, as the recorder tells it: against the patcher, and
its decoder against iced-x86."""

from __future__ import annotations

import ctypes
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from iced_x86 import Code, Decoder, FlowControl, Instruction, Mnemonic

from relive.replay.search.body import BLOCK, Body
from relive.replay.search.landmark import GENERAL
from relive.tracee.maps import PROT_EXEC
from relive.tracee.patching import CannotPatch, Patcher, Request
from relive.tracee.patching.arenas import Arenas
from tests.core import clib
from tests.patching.traced import Process, Tracer

MAX_INSTRUCTION = 15
PATCHED = 2
#: As the enumeration insn_flow has them.
FLOWS = {
    FlowControl.NEXT: 0,
    FlowControl.CONDITIONAL_BRANCH: 1,
    FlowControl.XBEGIN_XABORT_XEND: 1,
    FlowControl.UNCONDITIONAL_BRANCH: 2,
    FlowControl.CALL: 3,
    FlowControl.INDIRECT_CALL: 3,
    FlowControl.INTERRUPT: 4,
    FlowControl.INDIRECT_BRANCH: 5,
    FlowControl.RETURN: 5,
    FlowControl.EXCEPTION: 5,
}
#: What the two see differently, on purpose.
OTHERWISE = (Mnemonic.HLT, Mnemonic.INT1, Mnemonic.INT3, Mnemonic.XABORT, Mnemonic.XEND)


class Insn(ctypes.Structure):
    """struct insn."""

    _fields_ = (
        ("len", ctypes.c_uint8),
        ("flow", ctypes.c_uint8),
        ("flags", ctypes.c_uint8),
        ("target", ctypes.c_uint64),
    )


class Ranges(ctypes.Structure):
    """struct ranges."""

    _fields_ = (
        ("items", ctypes.c_void_p),
        ("n", ctypes.c_uint),
        ("taken", ctypes.c_void_p),
        ("n_taken", ctypes.c_uint),
        ("valid", ctypes.c_bool),
    )


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    made = clib.compile_shared("place", ["insn.c", "place.c", "ranges.c", "mem.c"])
    made.place_grade.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64]
    return made


def decoded(library: ctypes.CDLL, code: bytes, address: int) -> Insn:
    found = Insn()
    library.insn_decode(
        code, ctypes.c_size_t(len(code)), ctypes.c_uint64(address), ctypes.byref(found)
    )
    return found


def same(found: Insn, instruction: Instruction) -> bool:
    if found.len != instruction.len:
        return False
    if instruction.code in (Code.SYSCALL, Code.SYSENTER):
        return bool(found.flow == 4)
    if instruction.mnemonic not in OTHERWISE and found.flow != FLOWS[instruction.flow_control]:
        return False
    return not found.target or found.target == instruction.near_branch_target


def text_of(path: str) -> tuple[int, bytes]:
    with open(path, "rb") as file:
        section = ELFFile(file).get_section_by_name(".text")
        assert section is not None
        return section["sh_addr"], section.data()


@pytest.mark.limit(60)
@pytest.mark.parametrize("name", ["libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2"])
def test_real_code(library: ctypes.CDLL, name: str) -> None:
    """Every instruction of it."""
    with open("/proc/self/maps") as maps:
        directory = next(Path(line.split()[-1]) for line in maps if "libc.so.6" in line).parent
    address, code = text_of(str(directory / name))
    seen = 0
    for instruction in Decoder(64, code, ip=address):
        if instruction.code == Code.INVALID:
            continue
        at = instruction.ip - address
        found = decoded(library, code[at : at + MAX_INSTRUCTION], instruction.ip)
        assert same(found, instruction), f"{instruction} {code[at : at + instruction.len].hex()}"
        seen += 1
    assert seen > 10_000


@pytest.mark.limit(60)
def test_random_code(library: ctypes.CDLL) -> None:
    """What is told of any bytes is right; of some nothing is told."""
    rng = random.Random(7)
    known = 0
    for _ in range(200_000):
        code = rng.randbytes(MAX_INSTRUCTION)
        found = decoded(library, code, 0x400000)
        instruction = Decoder(64, code, ip=0x400000).decode()
        if found.len and instruction.code != Code.INVALID:
            assert same(found, instruction), f"{instruction} {code.hex()}"
            known += 1
    assert known > 100_000


def test_nothing_behind_the_end_is_read(library: ctypes.CDLL) -> None:
    code = bytes.fromhex("48817c24081234567890")
    whole = decoded(library, code, 0).len
    assert whole == 9
    for size in range(whole):
        assert decoded(library, code[:size], 0).len == 0


def places(process: Process, number: int, rng: random.Random) -> list[int]:
    """Addresses of instructions, from all code that is mapped."""
    found: list[int] = []
    for mapping in process.maps():
        if not mapping.prot & PROT_EXEC or not mapping.name.startswith("/"):
            continue
        code = process.read(mapping.start, min(mapping.end - mapping.start, 4 << 20))
        found += [
            instruction.ip
            for instruction in Decoder(64, code, ip=mapping.start)
            if instruction.code != Code.INVALID
            and instruction.mnemonic not in (Mnemonic.INT3, Mnemonic.NOP)
        ]
    return rng.sample(found, number)


@pytest.mark.limit(150)
def test_against_the_patcher(library: ctypes.CDLL) -> None:
    """Hardly any place that is called good can't be patched; few that can be are passed over."""
    script = "while 1: pass"
    outcomes: Counter[tuple[bool, bool]] = Counter()
    with Tracer([os.path.realpath(sys.executable), "-c", script]) as tracer:
        process = tracer.main
        end = time.monotonic() + 30
        tracer.resume()
        while sum(m.name == "[heap]" or "libm" in m.name for m in process.maps()) < 2:
            assert time.monotonic() < end, "the program does not start"
            tracer.poll()
        tracer.stop()
        arenas = Arenas(process)
        memory = os.open(f"/proc/{process.pid}/mem", os.O_RDONLY)
        handle = ctypes.c_int(memory)
        for address in places(process, 600, random.Random(5)):
            ranges = Ranges()
            assert library.ranges_read(ctypes.byref(ranges), process.pid) == 0
            grade = library.place_grade(ctypes.byref(handle), ctypes.byref(ranges), address)
            library.ranges_free(ctypes.byref(ranges))
            patcher = Patcher(process)
            arenas.refresh()
            data = arenas.map_near(address, 4096, 3, 0x22)
            body = Body(data + BLOCK, GENERAL, 0, None)
            made = patcher.update([Request(address, body)])[address]
            patched = not isinstance(made, CannotPatch)
            outcomes[grade == PATCHED, not isinstance(made, CannotPatch) and made.in_process] += 1
            if patched:
                patcher.update(remove=[address])
            patcher.release()
            process.syscall(11, data, 4096)
        os.close(memory)
    print(outcomes)
    assert outcomes[True, False] <= 600 * 0.01
    assert outcomes[False, True] <= 600 * 0.03
