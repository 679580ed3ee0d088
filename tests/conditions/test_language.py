"""The condition language: what text means, and what it says of text that means nothing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relive.conditions import ir
from relive.conditions.errors import ConditionError, ParseError
from relive.conditions.ir import Binary, Const, Expr, Hits, Load, Logic, Outcome, Select, Unary
from relive.conditions.language import parse, parse_value
from relive.conditions.operands import Names, Operand, Symbol
from relive.conditions.reference import evaluate, value
from tests.conditions.strategies import Memory

RAX, RDI, RSI, R8, RIP = (ir.reg(name) for name in ("rax", "rdi", "rsi", "r8", "rip"))
MINUS_1 = ir.const(-1)

REGS = [0] * ir.N_REGISTERS
REGS[RAX.index] = 0xFFFF_FFFF_8765_43F1
REGS[RDI.index] = 7
REGS[RSI.index] = 0x1000
MEMORY = Memory(((0x1000, b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8/bin/sh\0"),))


def run(text: str, hits: int = 1) -> int:
    return value(parse(text), REGS, MEMORY.read, hits)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("rax", RAX),
        ("eax", Binary("and", RAX, Const(0xFFFF_FFFF))),
        ("ah", Binary("and", Binary("lshr", RAX, Const(8)), Const(0xFF))),
        ("dil", Binary("and", RDI, Const(0xFF))),
        ("r8w", Binary("and", R8, Const(0xFFFF))),
        ("rip", RIP),
        ("rflags", ir.reg("eflags")),
        ("fs_base + 0x28", Binary("add", ir.reg("fs_base"), Const(0x28))),
        ("hits", Hits()),
        ("True", Const(1)),
        ("1_000 + 0x10 * 2", Const(1032)),
        ("-1", MINUS_1),
        ("~0", MINUS_1),
        ("-7 // 2", ir.const(-3)),
        ("-7 % 2", ir.const(-1)),
        ("1 << 63 >> 62", Const(2)),
        ("0xffffffffffffffff", MINUS_1),
        ("rdi < 5", Binary("ult", RDI, Const(5))),
        ("rdi > 5", Binary("ult", Const(5), RDI)),
        ("rdi >= 5", Binary("ule", Const(5), RDI)),
        ("i64(rdi) >= -5", Binary("sle", ir.const(-5), RDI)),
        ("rdi < i64(rsi)", Binary("slt", RDI, RSI)),
        ("i64(rdi) + rsi < rax", Binary("slt", Binary("add", RDI, RSI), RAX)),
        ("u64(i64[rsi]) < rax", Binary("ult", Load(RSI, 8, True), RAX)),
        ("u16[rsi]", Load(RSI, 2)),
        ("i8[rsi + 1] < 0", Binary("slt", Load(Binary("add", RSI, Const(1)), 1, True), Const(0))),
        ("rax // 3", Binary("udiv", RAX, Const(3))),
        ("i64(rax) // 3", Binary("sdiv", RAX, Const(3))),
        ("i64(rax) % rdi", Binary("srem", RAX, RDI)),
        ("rax >> 1", Binary("lshr", RAX, Const(1))),
        ("i64(rax) >> 1", Binary("ashr", RAX, Const(1))),
        ("rax >> i64(rdi)", Binary("lshr", RAX, RDI)),
        ("-8 >> rdi", Binary("ashr", ir.const(-8), RDI)),
        ("u8(rax)", Binary("and", RAX, Const(255))),
        ("u16(al)", Binary("and", RAX, Const(255))),
        ("i16(rax)", Binary("ashr", Binary("shl", RAX, Const(48)), Const(48))),
        ("i8(200)", ir.const(-56)),
        ("-rax", Unary("neg", RAX)),
        ("+rax", RAX),
        ("~rax & rdi", Binary("and", Unary("not", RAX), RDI)),
        ("not rax", Unary("lnot", RAX)),
        ("rax and rdi", Logic("and", RAX, RDI)),
        ("1 < rax < 5", Logic("and", Binary("ult", Const(1), RAX), Binary("ult", RAX, Const(5)))),
        ("rax if rdi else 5", Select(RDI, RAX, Const(5))),
        (
            "rax in (1, rdi)",
            Logic("or", Binary("eq", RAX, Const(1)), Binary("eq", RAX, RDI)),
        ),
        ("rax not in [1]", Unary("lnot", Binary("eq", RAX, Const(1)))),
        ("rax in {2}", Binary("eq", RAX, Const(2))),
        ("rax in ()", Const(0)),
        (
            "rax in range(4, 8)",
            Logic("and", Binary("ule", Const(4), RAX), Binary("ult", RAX, Const(8))),
        ),
        ("  rax\n ==\t1 ", Binary("eq", RAX, Const(1))),
        ("al == 0xff", Binary("eq", Binary("and", RAX, Const(0xFF)), Const(0xFF))),
        ("rax == -1", Binary("eq", RAX, MINUS_1)),
        ("i64(rax) == 0xffffffffffffffff", Binary("eq", RAX, MINUS_1)),
        ("rax > u64(-4096)", Binary("ult", ir.const(-4096), RAX)),
    ],
)  # fmt: skip
def test_trees(text: str, tree: Expr) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("eax", 0x8765_43F1),
        ("i32(eax) < 0 < rax", 1),
        ("ah", 0x43),
        ("i8(al)", -15),
        ("u8[rsi]", 255),
        ("i8[rsi]", -1),
        ("u64[rsi] >> 56", 0xF8),
        ("i64[rsi] >> 56", -8),
        ("i32[rsi] // 2", -25231488),
        ("u64[rsi + 8] == 0x0068732f6e69622f", 1),
        ("rdi in range(1, 100, 3)", 1),
        ("rdi in range(1, 100, 4)", 0),
        ("rdi in range(7)", 0),
        ("i64(0 - rdi) in range(-10, 0)", 1),
        ("i64(0 - rdi) in range(-10, 0, 3)", 1),
        ("i64(0 - rdi) in range(-10, 0, 2)", 0),
        ("rdi == 7 and (u8[0] == 1 if rdi > 7 else u8[rsi + 8] == 0x2f)", 1),
        ("rax < 0xffffffff90000000 and eax > 0x80000000", 1),
        ("(rdi == 7) + (rdi == 8) + (rdi != 9)", 2),
        ("rdi and 5", 1),
        ("0 - rdi", -7),
    ],
)
def test_values(text: str, result: int) -> None:
    assert run(text) == ir.word(result)


def test_hits() -> None:
    assert [run("hits % 3 == 0", hits) for hits in (1, 2, 3, 4)] == [0, 0, 1, 0]


def test_faults_are_undecided_unless_protected() -> None:
    for text, outcome in (
        ("u8[0] == 0", Outcome.UNDECIDED),
        ("rdi == 8 and u8[0] == 0", Outcome.REJECT),
        ("rdi == 7 or u8[0] == 0", Outcome.MATCH),
        ("u8[0] == 0 and rdi == 8", Outcome.UNDECIDED),
        ("rdi // (rdi - 7)", Outcome.UNDECIDED),
        ("1 if rdi else u8[0]", Outcome.MATCH),
        ("rdi in (7, u8[0])", Outcome.MATCH),
        ("rdi in (8, u8[0])", Outcome.UNDECIDED),
        ("9 < rdi < u8[0]", Outcome.REJECT),
    ):
        assert evaluate(parse(text), REGS, MEMORY.read, 1) is outcome, text


def test_signedness_of_the_result() -> None:
    assert [
        parse_value(text).signed
        for text in ("rax", "i64(rax)", "i8[rax]", "-1", "5", "i64(rax) < 0", "u8(i64(rax))")
    ] == [False, True, True, True, False, False, False]


# Every error: text with the fault between the brackets «», the reason, the hint.
ERRORS = [
    ("«»", "the condition is empty", ""),
    ("  «»", "the condition is empty", ""),
    ("rax ==«»", "an operand is missing", ""),
    ("rax «rbx»", "unexpected 'rbx'", ""),
    ("rax «;» rbx", "unexpected ';'", ""),
    ("  rax «rbx»", "unexpected 'rbx'", ""),
    ("«(»rax", "'(' was never closed", ""),
    ("u8«[»rax", "'[' was never closed", ""),
    ("rax«)»", "unmatched ')'", ""),
    ("rax «=» 5", "a condition can't assign", "write == to compare"),
    ("(«rax := 5»)", "a condition can't assign", "write == to compare"),
    ("rax «&&» rbx", "&& is not an operator here", "write `and`"),
    ("rax «||» rbx", "|| is not an operator here", "write `or`"),
    ("«!»rax", "! is not an operator here", "write `not`"),
    ("p«->»x == 1", "-> is not an operator here", "write `pointer.member`"),
    ("rax «?» 1 : 2", "?: is not an operator here", "write `a if condition else b`"),
    ("rax > 1 and «&»x", "& in front of a variable is not possible", "write `addr(variable)`"),
    ("«*»rax == 1", "* in front of a pointer is not possible", "write `pointer[0]`"),
    ("1 == 2 + «*»rax", "* in front of a pointer is not possible", "write `pointer[0]`"),
    (
        "«(unsigned long *)»rax",
        "a type in parentheses is not possible",
        "write `cast('type', value)`",
    ),
    (
        "1 + sizeof(«struct node»)",
        "a type is written in quotes",
        "write `sizeof('struct name')`",
    ),
    ("a«::»b == 1", ":: is not an operator here", "write var('space::name')"),
    ("«from» == 1", "from is a word of Python", "write var('from'); for a member whole['from']"),
    ("1 + «$rax»", "names are written without $", ""),
    ("«%»rax == 1", "registers are written without %", ""),
    ("rax «#» x", "a condition has no comments", ""),
    ("rax\n== «foo»", "unknown name foo", ""),
    ("rax + («é») + rbx", "unknown name é", ""),
    ("é«é» é", "", ""),
    ("(«rax is 5») + é", "`is` is not possible in a condition", "write == or !="),
    ("«RAX» == 1", "unknown name RAX", "did you mean rax?"),
    ("1 + «hit»", "unknown name hit", "did you mean hits?"),
    (
        "«xmm0» == 1",
        "xmm0 is not a register that conditions know",
        "general registers, rip, eflags, segment registers and bases are",
    ),
    (
        "«u8» == 1",
        "u8 alone is not a value",
        "write u8[address] to load from memory, u8(value) to convert",
    ),
    ("«rdi[8]» == 1", "a load needs a size", "write u64[rdi + offset]"),
    ("u8[«1:2»]", "one address is needed here", ""),
    ("u8[«1, 2»]", "one address is needed here", ""),
    ("u8[«-8»]", "an address is not negative", ""),
    ("u8[rsi] == «'/'»", "text is not possible in a condition", "write 0x2f for this character"),
    ("rax == «b'abc'»", "text is not possible in a condition", ""),
    ("rax * «1.5»", "only whole numbers are possible in a condition", ""),
    ("rax * «1j»", "only whole numbers are possible in a condition", ""),
    ("rax == «None»", "None is not possible in a condition", "write 0 for a null pointer"),
    ("rax == «...»", "Ellipsis is not possible in a condition", "write 0 for a null pointer"),
    ("«rax / 2» == 1", "/ is not possible in a condition", "write // to divide whole numbers"),
    ("«rax ** 2»", "this operator is not possible in a condition", ""),
    ("«rax @ 2»", "this operator is not possible in a condition", ""),
    (
        "«strlen»(rdi)",
        "functions can't be called in a condition",
        (
            "conversions are u8 u16 u32 u64 i8 i16 i32 i64; there are addr(...), cast(...),"
            " sizeof(...) and var(...)"
        ),
    ),
    ("«u8()»", "u8(...) takes one value", ""),
    ("«u8(1, 2)»", "u8(...) takes one value", ""),
    ("«u8(*rax)»", "u8(...) takes one value", ""),
    ("«range(5)»", "range is only possible after `in`", ""),
    ("«(1, 2)» == rax", "a list of values is only possible after `in`", ""),
    ("«lambda: 1»", "this kind of expression is not possible in a condition", ""),
    ("«[x for x in y]»", "this kind of expression is not possible in a condition", ""),
    ("«f'{rax}'»", "this kind of expression is not possible in a condition", ""),
    (
        "rax in «5»",
        "`in` needs a list of values or a range",
        "write (1, 2, 3), [1, 2, 3] or range(first, end); one value is (1,)",
    ),
    ("«rax in (1,) == 1»", "`in` can't be chained", "use parentheses or `and`"),
    ("rax in «range()»", "range takes an end; or first, end; or first, end, step", ""),
    ("rax in range(1, 5, «0»)", "a step is a positive number", ""),
    ("rax in range(1, 5, «rdi»)", "a step is a positive number", ""),
    ("rax + «0x10000000000000000»", "the number does not fit in 64 bits", ""),
    ("«1 << 64»", "the number does not fit in 64 bits", ""),
    ("«1 << 1000000000000»", "the number does not fit in 64 bits", ""),
    ("«-0x8000000000000001»", "the number does not fit in 64 bits", ""),
    ("rax // «0»", "division by zero", ""),
    ("5 % «0»", "division by zero", ""),
    ("rax << «-1»", "a shift count is not negative", ""),
    ("1 >> «-1»", "a shift count is not negative", ""),
    (
        "1 + («rax > -1»)",
        "-1 meets an unsigned operand",
        "write i64(...) around the operand to read it as signed, or u64(-1)",
    ),
    (
        "«rax // -2»",
        "-2 meets an unsigned operand",
        "write i64(...) around the operand to read it as signed, or u64(-2)",
    ),
    (
        "«rax if rdi else -1»",
        "-1 meets an unsigned operand",
        "write i64(...) around the operand to read it as signed, or u64(-1)",
    ),
    (
        "rax in «range(-1, 5)»",
        "-1 meets an unsigned operand",
        "write i64(...) around the operand to read it as signed, or u64(-1)",
    ),
    (
        "«i64(rax) < 0x8000000000000000»",
        "0x8000000000000000 is beyond the largest signed number",
        "write u64(...) around the signed operand, or i64(0x8000000000000000)",
    ),
    (
        "«eax == -1»",
        "a value of 32 bits, unsigned, never equals -1",
        "write i32(...) around it to read it the other way",
    ),
    (
        "rdi == 1 and «0xffffffff != i32[rsi]» != 3",
        "a value of 32 bits, signed, never equals 0xffffffff",
        "write u32(...) around it to read it the other way",
    ),
    ("al in (1, «256»)", "a value of 8 bits, unsigned, never equals 0x100", ""),
    ("«(rax == 1) == 2»", "a value of 1 bit, unsigned, never equals 0x2", ""),
    ("«(rax & 7) == 8»", "a value of 3 bits, unsigned, never equals 0x8", ""),
    (
        "«rax».x == 1",
        "rax has no members or elements",
        (
            "rax is the register: write cast('struct name *', rax) to say what it points to,"
            " var('rax') for a variable"
        ),
    ),
    ("hits«.»", "", ""),
    ("«0777» == rax", "leading zeros", ""),
]


@pytest.mark.parametrize(("marked", "what", "hint"), ERRORS)
def test_errors_point_at_the_fault(marked: str, what: str, hint: str) -> None:
    text = marked.replace("«", "").replace("»", "")
    with pytest.raises(ParseError) as caught:
        parse(text)
    error = caught.value
    if what in ("", "leading zeros"):
        assert what in error.what
        return
    assert (error.what, error.hint) == (what, hint)
    before, _, rest = marked.partition("«")
    fault = rest.partition("»")[0]
    if what.startswith("rax has no members"):
        fault = "rax"
    assert error.column == len(before) or not text.strip()
    assert error.length == max(len(fault), 1)


def test_the_message_shows_the_place() -> None:
    with pytest.raises(ParseError) as caught:
        parse("rdi > 5 and\nfoo < 1")
    assert str(caught.value) == (
        "column 13: unknown name foo\n"
        "  rdi > 5 and foo < 1\n"
        "              ^~~"
    )  # fmt: skip
    with pytest.raises(ParseError) as caught:
        parse("eax == -1")
    assert str(caught.value).splitlines()[1:] == [
        "  eax == -1",
        "  ^~~~~~~~~",
        "  write i32(...) around it to read it the other way",
    ]


def test_a_long_text_is_shown_in_part() -> None:
    text = "rax + " * 100 + "foo" + " + rax" * 100
    with pytest.raises(ParseError) as caught:
        parse(text)
    _, line, caret = str(caught.value).splitlines()
    assert len(line) < 220
    assert line.startswith("  ...")
    assert line.endswith("...")
    start = caret.index("^")
    assert line[start : start + caret.count("~") + 1] == "foo"


def test_limits() -> None:
    for text, what in (
        ("(" * 150 + "rax" + ")" * 150 + " + 1" * 500, "nested"),
        ("(" * 300 + "rax" + ")" * 300, "parenthes"),
        ("-" * 100_000 + "1", "longer"),
        ("-" * 99_000 + "1", "nested"),
        (" + ".join(["rax"] * 140), "140 levels deep"),
        ("1 + u8[rdi] in (" + "u8[rax], " * 9000 + ")", "operations"),
    ):
        with pytest.raises(ParseError, match=what):
            parse(text)


def test_comparisons_that_double_do_not_explode() -> None:
    text = "rax"
    for _ in range(40):
        text = f"1 < ({text}) < 9"
    with pytest.raises(ParseError, match="operations"):
        parse(text)


def test_a_thousand_terms() -> None:
    chain = parse(" and ".join(f"u64[rsi + {n}] != {n}" for n in range(1000)))
    assert ir.measure(chain)[0] < 16


class Point(Symbol):
    """A structure at rsi with a member x, an int, and elements."""

    def member(self, name: str) -> Operand:
        if name != "x":
            raise ConditionError(f"struct point has no member {name}", "it has x")
        return Symbol(Load(self.expr, 4, True), signed=True, bits=32)

    def element(self, index: Expr) -> Operand:
        return Point(Binary("add", self.expr, Binary("mul", index, Const(4))))


NAMES: Names = {
    "p": Point(RSI),
    "RED": -3,
    "limit": Load(Const(0x1000), 8),
    "rax": 5,
    "uint": Symbol(RDI),
}


def test_names() -> None:
    assert parse("p.x < 0", NAMES) == Binary("slt", Load(RSI, 4, True), Const(0))
    assert parse("p[rdi + 1].x", NAMES) == Load(
        Binary("add", RSI, Binary("mul", Binary("add", RDI, Const(1)), Const(4))), 4, True
    )
    assert parse("limit", NAMES) == Load(Const(0x1000), 8)
    assert parse("p.x == RED", NAMES) == Binary("eq", Load(RSI, 4, True), ir.const(-3))
    assert parse("rax", NAMES) == RAX
    assert parse_value("p.x", NAMES).signed


@pytest.mark.parametrize(
    ("text", "column", "what"),
    [
        ("1 + p.y", 4, "struct point has no member y"),
        ("uint.y", 0, "this has no member y"),
        ("uint[0]", 0, "this is not an array"),
        ("RED.x", 0, "a number has no members"),
        ("RED[0]", 0, "a number has no elements"),
        ("p[q]", 2, "unknown name q"),
        ("(1 + 2).x", 1, "only names have members and elements"),
        ("uint < RED", 0, "-3 meets an unsigned operand"),
        ("p.x == 0x80000000", 0, "a value of 32 bits, signed, never equals 0x80000000"),
        ("u8.x", 0, "u8 has no members or elements"),
        ("pp", 0, "unknown name pp"),
    ],
)
def test_errors_of_names(text: str, column: int, what: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse(text, NAMES)
    assert (caught.value.column, caught.value.what) == (column, what)


@given(st.text())
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        ir.check(parse(text))
    except ParseError as error:
        assert 0 <= error.column <= len(text)
        assert len(str(error).splitlines()) >= 3


TOKENS = re.findall(
    r"\S+",
    "rax eax al u8 i64 u64[ u8[ ] ( ) , 0 1 -1 0xffffffffffffffff 5 + - * // % & | ^ ~ << >> < <="
    " == != and or not in range if else hits . := lambda x é",
)


@given(st.lists(st.sampled_from(TOKENS), max_size=14))
def test_any_tokens_parse_or_are_refused(tokens: list[str]) -> None:
    text = " ".join(tokens)
    try:
        ir.check(parse(text))
    except ParseError as error:
        assert 0 <= error.column <= len(text)
