"""The option parser."""

from __future__ import annotations

import pytest

from relive.cli.options import Arguments, Command, Option
from relive.errors import UsageError


class Sample(Command):
    name = "sample"
    operands = "FILE"
    about = "For the tests."
    options = (
        Option("-o", "--output", value="DIR", help="where"),
        Option("-v", "--env", value="K=V", repeat=True, help="variables"),
        Option("-q", "--quiet", help="less"),
        Option("-n", help="a short one"),
        Option("--when", value="WHEN", optional="exit", help="an optional value"),
        Option("-h", "--chaos", help="not -h for help", refused="there is none"),
    )

    def run(self, args: Arguments) -> int:
        return len(args.positional)


def parsed(*argv: str) -> Arguments:
    args = Sample().parse(argv)
    assert args is not None
    return args


@pytest.mark.parametrize(
    "argv",
    [
        ["-o", "d"],
        ["-od"],
        ["--output", "d"],
        ["--output=d"],
        ["-qod"],
        ["-q", "-o", "x", "-o", "d"],
    ],
)
def test_spellings_of_a_value(argv: list[str]) -> None:
    assert parsed(*argv).get("output") == "d"


def test_flags_clusters_and_positionals() -> None:
    args = parsed("a", "-qn", "b", "--", "-c")
    assert args.has("quiet")
    assert args.has("n")
    assert not args.has("output")
    assert args.positional == ["a", "b", "-c"]


def test_a_lone_dash_is_positional() -> None:
    assert parsed("-").positional == ["-"]


def test_repeated_values() -> None:
    assert parsed("-vA=1", "-v", "B=2", "--env=C=3").all("env") == ["A=1", "B=2", "C=3"]


def test_optional_value() -> None:
    assert parsed("--when", "x").get("when") == "exit"
    assert parsed("--when", "x").positional == ["x"]
    assert parsed("--when=all").get("when") == "all"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--foo"], "no option --foo"),
        (["-z"], "no option -z"),
        (["-qz"], "no option -z"),
        (["-o"], "-o needs a value"),
        (["--quiet=1"], "takes no value"),
        (["-h"], "-h is not available: there is none"),
        (["--chaos"], "--chaos is not available"),
    ],
)
def test_mistakes(argv: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parsed(*argv)


def test_counts_of_positionals() -> None:
    command = Sample()
    command.least, command.most = 1, 1
    with pytest.raises(UsageError, match="missing"):
        command.parse([])
    with pytest.raises(UsageError, match="too many arguments, from 'b' on"):
        command.parse(["a", "b"])


def test_options_end_at_the_program() -> None:
    command = Sample()
    command.stops_at_operand = True
    args = command.parse(["-q", "prog", "-o", "--help"])
    assert args is not None
    assert args.positional == ["prog", "-o", "--help"]


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert Sample().main(["--help", "--foo"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: relive sample [OPTIONS] FILE\n")
    assert "--when[=WHEN]" in text
    assert text.index("not available yet:") < text.index("--chaos")


@pytest.mark.parametrize("text", ["x", "-1", "1_0", "٣", "", "0x", "1.5"])
def test_whole_numbers_only(text: str) -> None:
    with pytest.raises(UsageError, match="whole number"):
        parsed(f"--output={text}").number("output")


def test_numbers() -> None:
    assert parsed("-o17").number("output") == 17
    assert parsed("-o0x1F").number("output") == 31
    assert parsed().number("output") is None
