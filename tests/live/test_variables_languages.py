"""Variables of programs that are not written in C."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from relive.conditions.errors import ParseError
from tests.live.compiled import stopped

CPP = """
#include <cstdio>
int level = 1;
namespace geo {
int level = 2;
int scale = 7;
static int hidden = -8;
enum class Axis : short { X = -1, Y = 5 };
struct Base { int id = -3; virtual ~Base() {} };
struct Point : Base {
    int x, y;
    Axis axis = Axis::Y;
    static int made;
    Point(int a, int b) : x(a), y(b) { made++; }
    int area(int by) const;
};
int Point::made = 40;
int Point::area(int by) const
{
    int total = x * y * by;
    return total + hidden;
}
}
struct Left { int same = 1; };
struct Right { int same = 2; };
struct Both : Left, Right { int own = 3; };
template <typename T> struct Box { T item; T *where; };
extern "C" __attribute__((noinline)) int use(geo::Point &p, const Box<int> &box, geo::Point copy,
                                             Both both, int last, int &&moved, bool yes)
{
    int sum = p.x + box.item + copy.y + both.own + last + moved + yes;
    return sum + 1;
}
int main()
{
    geo::Point p(-2, 3);
    int i = 5;
    Box<int> b{-9, &i};
    printf("%d %d\\n", use(p, b, p, Both(), 6, 7, true), p.area(4) + geo::scale);
    return 0;
}
"""
CPP_VALUES = {
    "p.x": -2, "p.y": 3, "p.id": -3, "p.axis": 5, "p.axis == Y": 1, "box.item": -9,
    "box.where[0]": 5, "copy.y": 3, "both.own": 3, "last": 6, "moved": 7, "yes": 1,
    "level": 1, "var('geo::level')": 2, "var('geo::scale')": 7, "scale": 7,
    "var('geo::hidden')": -8, "var('geo::Point::made')": 41,
    "sizeof('geo::Point')": 24, "cast('geo::Point *', addr(p)).x": -2,
    "cast('Box<int> *', addr(box)).item": -9, "both['Left'].same": 1, "both['Right'].same": 2,
}  # fmt: skip


CPP_READ = ("p.x", "box.item", "copy.y", "both.own", "last", "moved", "yes", "scale")


@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_cpp(level: str, tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    source = tmp_path / "program.cpp"
    source.write_text(CPP)
    program = tmp_path / "program"
    subprocess.run(["g++", "-g", level, "-o", program, source], check=True, timeout=60)
    with stopped([program], "use") as there:
        for text, value in CPP_VALUES.items():
            if level == "-O2" and text not in CPP_READ:
                continue  # what nobody reads may never have been stored
            assert (text, there.value(text)) == (text, value)
        with pytest.raises(ParseError, match="same is a member of several base classes") as caught:
            there.value("both.same")
        assert "write ['Left'].same" in caught.value.hint
        with pytest.raises(ParseError, match="struct Point has no member z"):
            there.value("p.z")
    with stopped([program], "_ZNK3geo5Point4areaEi+4" if level == "-O0" else "use") as there:
        if level == "-O0":
            with pytest.raises(ParseError, match="by is not set up yet"):
                there.value("by")
    if level == "-O0":
        line = CPP[: CPP.index("return total")].count("\n") + 1
        with stopped([program], f"program.cpp:{line}") as there:
            found = {
                name: there.value(name) for name in ("x", "this.y", "by", "id", "total", "level")
            }
            assert found == {"x": -2, "this.y": 3, "by": 4, "id": -3, "total": -24, "level": 2}
            assert there.value("var('::level')") == 1


RUST = """
static mut COUNTER: i32 = -5;
pub struct Point { x: i32, y: i64, small: u8 }
#[inline(never)]
fn work(p: &Point, n: i32, flag: bool, list: &[u16]) -> i64 {
    let doubled = n * 2;
    let q = Point { x: doubled, y: p.y - 1, small: 3 };
    unsafe { COUNTER += n; }
    q.y + q.x as i64 + list[0] as i64 + flag as i64 + q.small as i64 + p.x as i64 + p.small as i64
}
fn main() {
    let p = Point { x: -7, y: 1 << 40, small: 255 };
    println!("{}", work(&p, -5, true, &[9, 8]));
}
"""


def test_rust(tmp_path: Path) -> None:
    if shutil.which("rustc") is None:
        pytest.skip("rustc is not installed")
    source = tmp_path / "program.rs"
    source.write_text(RUST)
    program = tmp_path / "program"
    subprocess.run(["rustc", "-g", "-o", program, source], check=True, timeout=100)
    line = RUST[: RUST.index("q.y + q.x")].count("\n") + 1
    with stopped([program], f"program.rs:{line}") as there:
        values = {
            "n": -5, "p.x": -7, "p.y": 1 << 40, "p.small": 255, "q.x": -10, "flag": 1,
            "doubled": -10, "list.data_ptr[1]": 8, "list.length": 2, "COUNTER": -10,
        }  # fmt: skip
        for text, value in values.items():
            assert (text, there.value(text)) == (text, value)
    functions = subprocess.run(["nm", program], capture_output=True, text=True, check=True)
    (work,) = [w for w in functions.stdout.split() if w.startswith("_ZN7program4work")]
    with stopped([program], work) as there, pytest.raises(ParseError, match="of C and C"):
        there.value("n")


GO = """
package main

import "fmt"

type pair struct {
\tx int32
\ty int64
}

//go:noinline
func work(p *pair, n int) int { return int(p.x) + n }

func main() { fmt.Println(work(&pair{-7, 5}, -3)) }
"""


def test_go(tmp_path: Path) -> None:
    if shutil.which("go") is None:
        pytest.skip("go is not installed")
    source = tmp_path / "program.go"
    source.write_text(GO)
    program = tmp_path / "program"
    command = ["go", "build", "-o", str(program), str(source)]
    subprocess.run(command, check=True, timeout=300, cwd=tmp_path)
    with stopped([program], "main.work") as there:
        assert [there.value(text) for text in ("p.x", "p.y", "n")] == [-7, 5, -3]
