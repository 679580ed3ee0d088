"""Text from recordings, safe to print: a recording may come from anybody."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-")


def plain(text: object) -> str:
    """`text` with everything that is not printable escaped (terminals obey some of it)."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else escape(c) for c in text)


def escape(character: str) -> str:
    """A character as in a C string."""
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # surrogateescape: a byte that is not UTF-8
        return f"\\x{number - 0xDC00:02x}"
    if 0x80 <= number <= 0xFF:  # not \\x80: that is a byte
        return f"\\u{number:04x}"
    return character.encode("unicode_escape").decode("ascii")


def command(argv: object) -> str:
    """A list of arguments as one would type it in a shell."""
    if not isinstance(argv, (list, tuple)):
        return "?"
    return " ".join(word(str(part)) for part in argv)


def word(text: str) -> str:
    """One argument as one would type it in a shell."""
    if text and SAFE.issuperset(text):
        return text
    if text.isprintable():
        return "'" + text.replace("'", "'\\''") + "'"
    # $'...' knows escapes
    text = text.replace("\\", "\\\\").replace("'", "\\'")
    return "$'" + "".join(c if c.isprintable() else escape(c) for c in text) + "'"


def clip(text: str, width: int) -> str:
    """`text`, cut to `width` characters."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def table(rows: Iterable[tuple[str, ...]], right: str = "") -> str:
    """Rows in columns; the last one is not padded.  `right`: "1" for a column aligned right."""
    rows = list(rows)
    if not rows:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if right[i : i + 1] == "1" else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row[:-1], widths, strict=True))
        ]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return "\n".join(lines) + "\n"
