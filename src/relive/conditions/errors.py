"""Errors of conditions."""

from __future__ import annotations

from relive.errors import ReliveError

WINDOW = 100
"""Characters shown on each side of a fault."""


class ConditionError(ReliveError):
    """A condition that can't be used.

    curable: it may be possible to use it when more files are loaded.
    """

    curable = False


class NotYetKnown(ConditionError):
    """Something that no file describes which is loaded now."""

    curable = True


class ParseError(ConditionError):
    """The text of a condition makes no sense.

    text: the condition.  column: of the first character at fault, from 0.  length: characters at
    fault, at least 1.  what: the reason without the text and the caret line, which the message has.
    """

    def __init__(
        self,
        text: str,
        column: int,
        length: int,
        what: str,
        hint: str = "",
        *,
        curable: bool = False,
    ) -> None:
        self.curable = curable
        self.text = text
        self.column = min(max(column, 0), len(text))
        self.length = max(length, 1)
        self.what = what
        # Control characters would move the caret away from its column.
        line = "".join(c if c.isprintable() else " " for c in text)
        first, last = self.column - WINDOW, self.column + WINDOW
        before = "..." if first > 0 else ""
        line = before + line[max(first, 0) : last] + ("..." if last < len(line) else "")
        start = len(before) + self.column - max(first, 0)
        caret = " " * start + "^" + "~" * (min(self.length, max(len(line) - start, 1)) - 1)
        super().__init__(f"column {self.column + 1}: {what}\n  {line}\n  {caret}", hint)

    def at(self, place: str) -> ParseError:
        """The same, and at which of several places it is so."""
        what = f"{self.what} (at {place})"
        return ParseError(
            self.text, self.column, self.length, what, self.hint, curable=self.curable
        )

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class AgentExpressionError(ConditionError):
    """A gdb agent expression that is malformed or that relive can't decide.

    offset: byte of the expression at fault.
    """

    def __init__(self, offset: int, what: str, hint: str = "") -> None:
        super().__init__(f"agent expression, byte {offset}: {what}", hint)
        self.offset = offset
        self.what = what
