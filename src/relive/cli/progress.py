"""A line of progress on stderr, for long work, when a person looks on."""

from __future__ import annotations

import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self, TextIO

#: seconds of work before anything is shown, and between two updates
FIRST = 0.5
EVERY = 0.1


class Progress:
    """Shows `label: done of total (percent)` in place; nothing unless on a terminal.

    with Progress("checking", total=size, unit="bytes") as progress:
        progress.add(n)
    """

    def __init__(
        self, label: str, total: int | None = None, *, unit: str = "", stream: TextIO | None = None
    ) -> None:
        self.label = label
        self.total = total
        self.unit = unit
        self.done = 0
        self.stream = sys.stderr if stream is None else stream
        self.shown = False
        self.live = self.stream.isatty()
        self.due = time.monotonic() + FIRST

    def add(self, amount: int) -> None:
        """More of the work is done."""
        self.set(self.done + amount)

    def set(self, done: int) -> None:
        """This much of the work is done."""
        self.done = done
        if not self.live:
            return
        now = time.monotonic()
        if now >= self.due:
            self.due = now + EVERY
            self.stream.write(f"\r\033[K{self.text()}")
            self.stream.flush()
            self.shown = True

    def text(self) -> str:
        """The line as it stands."""
        amount = human(self.done) if self.unit == "bytes" else f"{self.done:,}"
        unit = "" if self.unit in ("", "bytes") else f" {self.unit}"
        if not self.total:
            return f"{self.label}: {amount}{unit}"
        total = human(self.total) if self.unit == "bytes" else f"{self.total:,}"
        percent = min(100, 100 * self.done // self.total)
        return f"{self.label}: {amount} of {total}{unit} ({percent} %)"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.shown:
            self.stream.write("\r\033[K")
            self.stream.flush()


def human(size: int) -> str:
    """A number of bytes as a person reads it: 512 B, 3.4 kB, 12 MB."""
    if size < 1000:
        return f"{size} B"
    amount = float(size)
    for unit in ("kB", "MB", "GB", "TB"):
        amount /= 1000
        if amount < 999.5 or unit == "TB":
            break
    return f"{amount:.1f} {unit}" if amount < 9.95 else f"{amount:.0f} {unit}"
