"""What is said when a variable can't be used, and where debugging information may be."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from relive import live
from relive.conditions.errors import ParseError
from tests.live.compiled import Stopped, build, compiler, quiet, stopped
from tests.live.targets import PROGRAMS

SAMPLE = {"node.value": -1500, "node.color": -4, "counter": -5, "flags.minus": -9, "calls": 41}


def check(there: Stopped) -> None:
    assert {text: there.value(text) for text in SAMPLE} == SAMPLE


ERRORS = [
    # the fault, the reason, the hint
    ("«nod».value", "unknown name nod", "did you mean node?"),
    ("count > 1 and «node.valu» == 2", "struct node has no member valu", "its members are next,"),
    ("«node» < «»0", "", ""),
    ("«node.value.x»", "node.value has no member x: it is an int", ""),
    ("«pair»", "pair is a struct pair", "its members are first, second"),
    ("1 + «nodes[1]»", "nodes[1] is a struct node", "its members are next, value"),
    ("«real» > 1", "real is a double: conditions know whole numbers only", "u64[addr"),
    ("«huge» == 5", "huge is a __int128, of 128 bits", "u64[addr(huge)]"),
    ("«nothing[0]»", "nothing is a pointer to void, whose size is not known", "cast('int *'"),
    ("«counter[1]»", "counter is no array or pointer: it is an int", ""),
    ("«list.x»", "list is a char **: what it points to has no members", "list[0].x"),
    ("«node.name.x»", "node.name has no member x: it is a pointer to char", "cast('struct name *'"),
    ("«addr(flags.one)»", "flags.one is a bit-field: it has no address", ""),
    ("cast(«'struct nod *'», node).x", "no type is called 'struct nod'", ""),
    ("cast(«'struct node'», node).x", "a word can't be a struct node", "cast to a pointer"),
    ("cast(«'struct'», node)", "'struct' is not understood as a type", "'struct name *'"),
    ("var(«'nod'»)", "unknown name nod", "did you mean node?"),
    ("«sp».x == 1", "sp has no members or elements", "var('sp')"),
    ("«node + node»", "two pointers can't be added", ""),
    ("«1 - node»", "a pointer can't be subtracted from a number", ""),
    ("«head - text»", "these pointers point to elements of different sizes", "u64(...)"),
    ("u64[«head»]", "head is a pointer, and head in brackets could be it", "u64[u64(head)]"),
    ("u64[«node + 8»]", "this pointer moves by elements of", "u64(pointer) + offset"),
    ("«from» > 1", "from is a word of Python", "var('from')"),
    ("«shared == -1»", "a value of 32 bits, unsigned, never equals -1", "i32(...)"),
    ("«letter == 200»", "a value of 8 bits, signed, never equals 0xc8", "u8(...)"),
    ("sizeof(«»)", "sizeof(...) takes a type in quotes or a variable", ""),
    ("«i64(count, 1)»", "i64(...) takes one value", ""),
]


def test_errors_point_at_the_fault(tmp_path: Path) -> None:
    program = build(tmp_path, "variables.c", "gcc", "-g", "-O0")
    with stopped([program], "here") as there:
        for marked, what, hint in ERRORS:
            text = marked.replace("«", "").replace("»", "")
            if not what:
                there.value(text)
                continue
            with pytest.raises(ParseError) as caught:
                there.value(text)
            error = caught.value
            assert error.what.startswith(what), (text, error)
            assert hint in error.hint, (text, error)
            start, end = marked.index("«"), marked.index("»") - 1
            if end > start:
                assert (error.column, error.length) == (start, end - start), (text, error)


def test_where_an_optimised_variable_is(tmp_path: Path) -> None:
    program = build(tmp_path, "scopes.c", "gcc", "-g", "-O2", "-w")
    lines = (PROGRAMS / "scopes.c").read_text().splitlines()
    line = next(n for n, text in enumerate(lines, 1) if "for (unsigned j" in text)
    with stopped([program], f"scopes.c:{line}") as there:
        with pytest.raises(ParseError) as caught:
            there.value("scaled > 1 and outcome")
        assert caught.value.what.startswith(("scaled is", "unknown name scaled"))
    with stopped([program], "both") as there:
        with pytest.raises(ParseError, match=r"q\.?\w* (is|can't be read)") as caught:
            there.value("q.first")
        assert "optimised out" in caught.value.what
        assert there.value("a7") == -6


def test_which_of_several_places_it_is(tmp_path: Path) -> None:
    source = tmp_path / "twice.c"
    source.write_text(
        "#include <stdio.h>\n"
        "static inline __attribute__((always_inline)) int half(int x)\n{\n"
        '    puts("half");\n    return x / 2;\n}\n'
        "__attribute__((noinline)) int one(int first) { return half(first + 1); }\n"
        "__attribute__((noinline)) int two(int second) { return half(second + 2); }\n"
        "int main(int argc, char **argv) { return one(argc) + two(argc) == 0 && argv; }\n"
    )
    program = build(tmp_path, source, "gcc", "-g", "-O2")
    with live.Session() as session:
        with quiet():
            session.start([str(program)])
        with pytest.raises(ParseError, match=r"\(at 0x[0-9a-f]+\)"):
            session.add("twice.c:4", "x.y > 1", live.stop())
        assert len(session.add("twice.c:4", "x > 0", live.count()).armed) == 2


def test_without_debugging_information(tmp_path: Path) -> None:
    program = build(tmp_path, "variables.c", "gcc", "-O0")
    with stopped([program], "work") as there:
        with pytest.raises(ParseError) as caught:
            there.value("count > 1")
        assert caught.value.what == "unknown name count"
        assert f"{program} has no debugging information" in caught.value.hint
        assert "-g" in caught.value.hint and "debug package" in caught.value.hint
        # A symbol still stands for its address, where that makes sense.
        assert there.value("i32[shared]") == 4000000000 - (1 << 32)
        assert there.value("u8[text + 2]") == ord("n")
        assert there.value("addr(shared) == shared") == 1
        assert there.value("cast('int *', addr(shared))[0]") == 4000000000 - (1 << 32)
        assert there.value("rip == work")
        for text in ("shared > 4", "shared", "not shared", "shared and 1", "shared.x", "shared[0]"):
            with pytest.raises(ParseError, match="the type of shared is not known") as caught:
                there.value(text)
            assert str(program) in caught.value.what and "u32[shared]" in caught.value.hint
        with pytest.raises(ParseError, match=r"is thread-local, and .* does not describe it"):
            there.value("exported_to_thread")


def test_a_source_file_without_it(tmp_path: Path) -> None:
    (tmp_path / "plain.c").write_text("int plain(int x) { return x + 1; }\n")
    (tmp_path / "main.c").write_text(
        "int plain(int x);\nint shown = 4;\nint main(void) { return plain(shown) != 5; }\n"
    )
    command = "gcc -c plain.c && gcc -g main.c plain.o -o mixed"
    subprocess.run(command, shell=True, check=True, cwd=tmp_path, timeout=60)
    with stopped([tmp_path / "mixed"], "plain") as there:
        assert there.value("shown") == 4
        with pytest.raises(ParseError, match="source file was compiled without -g"):
            there.value("x")


@pytest.mark.parametrize("how", ["zlib", "zlib-gnu", "zstd"])
def test_compressed_sections(how: str, tmp_path: Path) -> None:
    plain = build(tmp_path, "variables.c", "gcc", "-g", "-O0")
    program = tmp_path / how
    command = ["objcopy", f"--compress-debug-sections={how}", str(plain), str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        pytest.skip(f"objcopy does not know {how}: {done.stderr.strip()}")
    with stopped([program], "here") as there:
        check(there)


@pytest.mark.parametrize("link", ["debuglink", "build id"])
def test_separate_files(link: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from relive.symbols import debugfiles

    whole = build(tmp_path, "variables.c", "gcc", "-g", "-O0", "-Wl,--build-id")
    program = tmp_path / "bin" / "variables"
    program.parent.mkdir()
    shutil.copy(whole, program)
    debug = tmp_path / "bin" / "variables.debug"
    if link == "build id":
        from relive.symbols import cache

        name = cache.load(whole).build_id
        debug = tmp_path / "debug" / ".build-id" / name[:2] / f"{name[2:]}.debug"
        debug.parent.mkdir(parents=True)
        monkeypatch.setattr(debugfiles, "ROOTS", (tmp_path / "debug",))
    subprocess.run(["objcopy", "--only-keep-debug", whole, debug], check=True, timeout=60)
    subprocess.run(["strip", program], check=True, timeout=60)
    if link == "debuglink":
        command = ["objcopy", f"--add-gnu-debuglink={debug}", str(program)]
        subprocess.run(command, check=True, timeout=60)
    with stopped([program], "here") as there:
        check(there)


def test_what_dwz_shares(tmp_path: Path) -> None:
    if shutil.which("dwz") is None:
        pytest.skip("dwz is not installed")
    first = build(tmp_path, "variables.c", "gcc", "-g", "-O0", name="first")
    second = build(tmp_path, "variables.c", "gcc", "-g", "-Og", name="second")
    shared = tmp_path / "shared.debug"
    subprocess.run(["dwz", "-m", shared, first, second], check=True, timeout=60)
    with stopped([first], "here") as there:
        check(there)
    shared.unlink()
    with stopped([second], "here") as there, pytest.raises(ParseError, match="which is not there"):
        there.value("counter")


def test_types_in_units_of_their_own(tmp_path: Path) -> None:
    for version in ("4", "5"):
        for cc in ("gcc", "clang"):
            options = ("-g", f"-gdwarf-{version}", "-fdebug-types-section", "-O0")
            program = build(tmp_path, "variables.c", compiler(cc), *options)
            with stopped([program], "here") as there:
                check(there)


def test_old_versions(tmp_path: Path) -> None:
    for options in (("-gdwarf-2", "-gstrict-dwarf"), ("-gdwarf-3",), ("-gdwarf-5", "-gdwarf64")):
        program = build(tmp_path, "variables.c", "gcc", "-g", *options, "-O0")
        with stopped([program], "here") as there:
            check(there)


def test_information_in_dwo_files_is_named(tmp_path: Path) -> None:
    program = build(tmp_path, "variables.c", "gcc", "-g", "-gsplit-dwarf", "-O0")
    with stopped([program], "here") as there, pytest.raises(ParseError, match=r"\.dwo") as caught:
        there.value("count")
    assert "without -gsplit-dwarf" in caught.value.hint


def test_the_command(tmp_path: Path) -> None:
    """What is printed and saved of values with types."""
    program = build(tmp_path, "variables.c", "gcc", "-g", "-O0")
    values = ["count", "letter", "node", "color", "flags.minus", "node.name", "shared", "u64(node)"]
    collect = [word for value in values for word in ("--collect", value)]
    path = tmp_path / "hits.jsonl"
    command = [sys.executable, "-m", "relive", "break", "-q", "here", "--when", "count < 0"]
    command += [*collect, "--print", "-o", str(path), "--", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = [text for text in done.stdout.splitlines() if text.startswith("here hit 1")]
    shown = dict(word.split("=") for word in line.split() if "=" in word)
    assert shown["count"] == "-1" and shown["letter"] == "-3" and shown["color"] == "RED"
    assert shown["flags.minus"] == "-9" and shown["shared"] == "4000000000"
    assert shown["node"].startswith("0x") and shown["node.name"].startswith("0x")
    (saved,) = [json.loads(text) for text in path.read_text().splitlines()]
    assert [saved[name] for name in values[:5]] == [-1, -3, int(shown["node"], 16), -4, -9][:5]
    assert saved["shared"] == 4000000000


def test_values_in_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow.parquet

    program = build(tmp_path, "variables.c", "gcc", "-g", "-O0")
    path = tmp_path / "hits.parquet"
    command = [sys.executable, "-m", "relive", "break", "-q", "here", "--collect", "count"]
    command += ["--collect", "highest", "--collect", "color", "-o", str(path), "--", str(program)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    table = pyarrow.parquet.read_table(path)
    kinds = [str(table.schema.field(name).type) for name in ("count", "highest", "color")]
    assert kinds == ["int64", "uint64", "int64"]
    assert table.to_pylist()[0]["count"] == -1
    assert table.to_pylist()[0]["highest"] == (1 << 64) - 1


def test_a_wrong_condition_ends_the_command(tmp_path: Path) -> None:
    program = build(tmp_path, "variables.c", "gcc", "-g", "-O0")
    command = [sys.executable, "-m", "relive", "break", "-q", "here", "--when", "node.valu > 1"]
    done = subprocess.run(
        [*command, "--", str(program)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "column 1: struct node has no member valu\n  node.valu > 1\n  ^~~~~~~~~\n" in done.stderr
