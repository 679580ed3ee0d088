"""The table against the kernel's own headers, and against its encoding in C."""

from __future__ import annotations

import ctypes
import random
import re
from pathlib import Path

import pytest

from relive.syscalls import encode, special_outs
from relive.syscalls.model import MAX_ARGS, MAX_NR, CallFlag, Kind, Rule, When
from relive.syscalls.table import by_name, by_number, call_for, name_of

from .building import CORE, build_directory, encoded, run_compiler

HEADERS = (
    Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    Path("/usr/include/asm/unistd_64.h"),
)
NEWEST = 471
"""The highest number of x86-64 that the table knows (Linux 7.0)."""


def header_numbers() -> dict[str, int]:
    for header in HEADERS:
        if header.exists():
            found = re.findall(r"#define __NR_(\w+) (\d+)", header.read_text())
            return {name: int(nr) for name, nr in found}
    pytest.skip("no kernel headers installed")


def test_every_number_of_the_headers_is_described() -> None:
    for name, nr in header_numbers().items():
        assert nr in by_number, f"{name} ({nr}) is missing"
        assert by_number[nr].name == name


def test_no_gap_in_the_numbers() -> None:
    # 337..423 and were left free when the numbers of all architectures were unified (5.1);
    # 472 and up are not given out.
    expected = {*range(335), 335, 336, *range(424, NEWEST + 1)}
    assert set(by_number) == expected


def test_names_and_numbers_agree() -> None:
    assert all(by_number[call.nr] is call for call in by_name.values())
    assert len(by_name) == len(by_number)
    assert name_of(0) == "read"
    assert name_of(999) == "syscall_999"


def test_unknown_numbers_have_no_facts() -> None:
    assert call_for(999, (0,) * 6) is None
    assert call_for(MAX_NR, (0,) * 6) is None


def test_variants_by_argument() -> None:
    getlk = call_for(72, (3, 5, 0x1000))
    assert getlk is not None and getlk.label == "F_GETLK"
    unknown = call_for(72, (3, 4711, 0x1000))
    assert unknown is not None and unknown.refused
    wait = call_for(202, (0x1000, 0 | 128, 1, 0))
    assert wait is not None and wait.label == "FUTEX_WAIT"
    anonymous = call_for(9, (0, 4096, 3, 0x22, 2**64 - 1, 0))
    assert anonymous is not None and not anonymous.flags & CallFlag.RECORD_EXIT
    mapped = call_for(9, (0, 4096, 3, 0x02, 3, 0))
    assert mapped is not None and mapped.flags & CallFlag.RECORD_EXIT
    shared = call_for(9, (0, 4096, 3, 0x21, 2**64 - 1, 0))
    assert shared is not None and shared.flags & CallFlag.RECORD_EXIT


def test_facts_are_consistent() -> None:
    for call in by_number.values():
        for facts in (call.facts, *(variant.facts for variant in call.variants)):
            where = f"{call.name} {facts.label}"
            assert bool(facts.refuse) == facts.refused, where
            for arg in facts.args:
                if arg.rule not in (Rule.FIXED, Rule.IN_U32):
                    assert arg.size_arg < len(facts.args), where
                    by = facts.args[arg.size_arg]
                    pointer = arg.rule in (Rule.PTR32, Rule.PTR64)
                    assert (by.kind is Kind.INOUT) if pointer else (by.kind is Kind.SCALAR), where
                if arg.kind is Kind.SCALAR:
                    assert arg.elem == 0 and arg.when is When.SUCCESS, where
                elif arg.kind not in (Kind.STR, Kind.STRV):
                    assert arg.elem > 0, where


def test_calls_that_must_be_refused_quietly_or_loudly() -> None:
    quiet = {"io_uring_setup", "rseq", "pkey_alloc", "set_thread_area"}
    loud = {"ptrace", "bpf", "perf_event_open", "userfaultfd", "memfd_secret", "io_setup"}
    for name in quiet | loud:
        assert by_name[name].facts.refused
        assert bool(by_name[name].facts.flags & CallFlag.WARN) == (name in loud)


def test_special_outs_are_asked_for() -> None:
    """Every call with a rule of its own is flagged, so that the recorder comes to ask."""
    for nr in special_outs.NUMBERS:
        call = by_number[nr]
        every = (call.facts, *(variant.facts for variant in call.variants))
        assert any(CallFlag.RECORD_EXIT in facts.flags for facts in every), call.name
    named = {by_number[nr].name for nr in special_outs.NUMBERS}
    assert named == {
        "ioctl",
        "mincore",
        "semctl",
        "msgrcv",
        "vmsplice",
        "name_to_handle_at",
        "clone3",
        "getxattrat",
    }


# ---------------------------------------------------------------- the encoding


class CArg(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_uint8),
        ("rule", ctypes.c_uint8),
        ("size_arg", ctypes.c_uint8),
        ("flags", ctypes.c_uint8),
        ("elem", ctypes.c_uint32),
    )


class CCall(ctypes.Structure):
    _fields_ = (
        ("nr", ctypes.c_uint16),
        ("flags", ctypes.c_uint16),
        ("refuse_errno", ctypes.c_uint16),
        ("nargs", ctypes.c_uint8),
        ("pad", ctypes.c_uint8),
        ("arg", CArg * MAX_ARGS),
    )


@pytest.fixture(scope="module")
def core() -> ctypes.CDLL:
    target = build_directory() / "libtable.so"
    run_compiler(
        "-shared",
        "-fPIC",
        "-Wall",
        "-Wextra",
        "-Werror",
        f"-I{CORE}",
        f"-I{encoded().parent}",
        "-o",
        str(target),
        str(CORE / "table.c"),
    )
    library = ctypes.CDLL(str(target))
    library.call_lookup.restype = ctypes.POINTER(CCall)
    library.call_lookup.argtypes = (ctypes.c_uint64, ctypes.POINTER(ctypes.c_uint64))
    return library


def test_c_lookup_is_the_twin(core: ctypes.CDLL) -> None:
    rng = random.Random(1)
    cases: list[tuple[int, list[int]]] = []
    for nr, call in by_number.items():
        cases.append((nr, [rng.getrandbits(64) for _ in range(6)]))
        for variant in call.variants:
            args = [rng.getrandbits(64) for _ in range(6)]
            args[variant.arg] = (args[variant.arg] & ~variant.mask) | variant.value
            cases.append((nr, args))
    for nr, args in cases:
        found = core.call_lookup(nr, (ctypes.c_uint64 * 6)(*args))
        facts = call_for(nr, args)
        assert facts is not None
        assert found, name_of(nr)
        c = found.contents
        assert (c.nr, c.flags, c.refuse_errno, c.nargs) == (
            nr,
            facts.flags,
            facts.refuse,
            len(facts.args),
        )
        for i, arg in enumerate(facts.args):
            got = c.arg[i]
            assert (got.kind, got.rule, got.size_arg, got.flags, got.elem) == (
                arg.kind,
                arg.rule,
                arg.size_arg,
                arg.when,
                arg.elem,
            )


def test_c_lookup_of_unknown_numbers(core: ctypes.CDLL) -> None:
    args = (ctypes.c_uint64 * 6)()
    for nr in (NEWEST + 1, 400, MAX_NR - 1, MAX_NR, 2**63):
        assert not core.call_lookup(nr, args)


def test_constants_are_those_of_the_header() -> None:
    text = (CORE / "table.h").read_text()
    assert int(*re.findall(r"#define CALL_MAX_NR (\d+)", text)) == MAX_NR
    assert int(*re.findall(r"#define CALL_MAX_ARGS (\d+)", text)) == MAX_ARGS
    for prefix, values in (("CALLF_", CallFlag), ("ARGF_", When)):
        names = {name: int(v, 16) for name, v in re.findall(rf"#define {prefix}(\w+) (\w+)", text)}
        assert names == {str(flag.name): int(flag) for flag in values}
    for prefix, kinds in (("ARG_", Kind), ("SIZE_", Rule)):
        enum = re.search(rf"enum (?:arg_kind|size_rule) {{([^}}]*{prefix}[^}}]*)}}", text)
        assert enum is not None
        listed = re.findall(rf"^\s*{prefix}(\w+)", enum.group(1), re.M)
        assert listed == [kind.name for kind in kinds]


def test_encoding_is_the_same_from_the_package() -> None:
    assert encoded().read_text(encoding="utf-8") == encode.encode()
    assert re.fullmatch(r"[0-9a-f]{32}", encode.digest())
