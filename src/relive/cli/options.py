"""Commands and their options, declared as data.

A command is a subclass of `Command`: a name, a usage line, a table of `Option`
and a `run`.  The parser does what a person expects of getopt_long: `-o DIR`,
`-oDIR`, `--output DIR`, `--output=DIR`, clusters of flags (`-qn`), `--` ends
the options.  argparse is not used because importing it takes longer than
everything else the command line does before a program starts to be recorded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from relive.cli.tell import put
from relive.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Option:
    """One option of a command.

    names: its spellings, short ones first; the last one, without its dashes,
        is the key in `Arguments`.
    help: one line for `--help`.
    value: what to call its value in the help; "" for a flag.
    optional: the value given by `--name` alone, when `--name=VALUE` is allowed
        but not needed; None when a value is needed.
    repeat: may be given more than once; otherwise the last one counts.
    refused: why the option is not accepted yet; "" when it is.
    """

    __slots__ = ("help", "key", "names", "optional", "refused", "repeat", "value")

    def __init__(
        self,
        *names: str,
        help: str,  # noqa: A002 - what it is called everywhere
        value: str = "",
        optional: str | None = None,
        repeat: bool = False,
        refused: str = "",
    ) -> None:
        self.names = names
        self.help = help
        self.value = value
        self.optional = optional
        self.repeat = repeat
        self.refused = refused
        self.key = names[-1].lstrip("-")

    def spelled(self) -> str:
        """The option as the help shows it."""
        text = ", ".join(self.names)
        if not self.value:
            return text
        if self.optional is not None:
            return f"{text}[={self.value}]"
        return f"{text} {self.value}"


class Arguments:
    """Parsed options and positional arguments of one command."""

    __slots__ = ("given", "positional")

    def __init__(self) -> None:
        self.given: dict[str, list[str]] = {}
        self.positional: list[str] = []

    def has(self, key: str) -> bool:
        """Whether the option was given."""
        return key in self.given

    def get(self, key: str) -> str | None:
        """The value of an option given once (the last one), or None."""
        values = self.given.get(key)
        return values[-1] if values else None

    def all(self, key: str) -> list[str]:
        """All values of an option that may be repeated."""
        return self.given.get(key, [])

    def number(self, key: str) -> int | None:
        """The value of an option that takes a whole number, or None. UsageError if it is none."""
        text = self.get(key)
        return None if text is None else whole(text, f"--{key}")


def whole(text: str, what: str) -> int:
    """`text` as a whole number >= 0 (decimal, or hexadecimal with 0x)."""
    try:
        number = int(text, 16 if text[:2] in ("0x", "0X") else 10)
    except ValueError:
        number = -1
    if number < 0 or not text.isascii() or "_" in text:
        raise UsageError(f"{what} takes a whole number, not '{text}'")
    return number


class Command(ABC):
    """One command of the command line."""

    name = ""
    #: the arguments after the options, as the usage line shows them
    operands = ""
    #: a paragraph or two for --help
    about = ""
    options: Sequence[Option] = ()
    #: options end at the first argument that is none (a program and its arguments follow)
    stops_at_operand = False
    #: how many positional arguments there may be
    least = 0
    most: int | None = None

    @abstractmethod
    def run(self, args: Arguments) -> int:
        """Do it; returns the exit status.  Raises ReliveError for what a user can act on."""

    def main(self, argv: Sequence[str]) -> int:
        """Parse `argv` (after the command's name) and run."""
        args = self.parse(argv)
        if args is None:
            put(self.help())
            return 0
        return self.run(args)

    def parse(self, argv: Sequence[str]) -> Arguments | None:
        """Parse; None when help was asked for.  UsageError when it makes no sense."""
        table = {name: option for option in self.options for name in option.names}
        args = Arguments()
        rest = list(argv)
        while rest:
            word = rest.pop(0)
            if word == "--":
                args.positional += rest
                break
            if word == "--help" or (word == "-h" and "-h" not in table):
                return None
            if not word.startswith("-") or word == "-":
                args.positional.append(word)
                if self.stops_at_operand:
                    args.positional += rest
                    break
            elif word.startswith("--"):
                self._long(word, rest, table, args)
            else:
                self._short(word, rest, table, args)
        count = len(args.positional)
        if count < self.least:
            raise UsageError(f"{self.name}: an argument is missing", f"usage: {self.usage()}")
        if self.most is not None and count > self.most:
            raise UsageError(
                f"{self.name}: too many arguments, from '{args.positional[self.most]}' on",
                f"usage: {self.usage()}",
            )
        return args

    def _long(self, word: str, rest: list[str], table: dict[str, Option], args: Arguments) -> None:
        name, equals, value = word.partition("=")
        option = self._find(name, table)
        if not option.value:
            if equals:
                raise UsageError(f"{self.name}: {name} takes no value")
        elif not equals:
            value = self._value(option, name, rest)
        self._take(option, value, args)

    def _short(self, word: str, rest: list[str], table: dict[str, Option], args: Arguments) -> None:
        at = 1
        while at < len(word):
            name = "-" + word[at]
            at += 1
            option = self._find(name, table)
            value = ""
            if option.value:
                value = word[at:] or self._value(option, name, rest)
                at = len(word)
            self._take(option, value, args)

    def _find(self, name: str, table: dict[str, Option]) -> Option:
        option = table.get(name)
        if option is None:
            raise UsageError(f"{self.name}: no option {name}", f"see `relive {self.name} --help`")
        if option.refused:
            raise UsageError(f"{self.name}: {name} is not available: {option.refused}")
        return option

    def _value(self, option: Option, name: str, rest: list[str]) -> str:
        if option.optional is not None:
            return option.optional
        if not rest:
            raise UsageError(f"{self.name}: {name} needs a value ({option.value})")
        return rest.pop(0)

    @staticmethod
    def _take(option: Option, value: str, args: Arguments) -> None:
        if option.repeat:
            args.given.setdefault(option.key, []).append(value)
        else:
            args.given[option.key] = [value]

    def usage(self) -> str:
        """The usage line."""
        words = ["relive", self.name, "[OPTIONS]" if self.options else "", self.operands]
        return " ".join(word for word in words if word)

    def help(self) -> str:
        """The text of `--help`."""
        lines = [f"usage: {self.usage()}", "", self.about.strip()]
        for title, group in (
            ("options:", [option for option in self.options if not option.refused]),
            ("not available yet:", [option for option in self.options if option.refused]),
        ):
            if group:
                lines += ["", title]
            for option in group:
                spelled = option.spelled()
                if len(spelled) > 26:
                    lines += [f"  {spelled}", f"  {'':<26} {option.help}"]
                else:
                    lines.append(f"  {spelled:<26} {option.help}")
        return "\n".join(lines) + "\n"
