"""What can go wrong, as a person is told it.

Every error that relive raises on purpose is a `ReliveError`: what happened and
where is its message, what can be done about it is its hint.  The command line
prints both and never a traceback; anything else that escapes is a defect of
relive.
"""

from __future__ import annotations

TYPE_CHECKING = False  # what type checkers take for True, without importing typing
if TYPE_CHECKING:
    from pathlib import Path


class ReliveError(Exception):
    """An error a user can act on.

    message: what happened and where, one sentence, no full stop.
    hint: what to do about it; "" when there is nothing useful to say.
    """

    #: exit status of the command line
    status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(ReliveError):
    """The command line makes no sense."""

    status = 2


class RecordingError(ReliveError):
    """A recording that is damaged, too new, or not a recording at all.

    path: the directory or the file in it that is at fault.
    """

    def __init__(self, message: str, hint: str = "", *, path: Path | None = None) -> None:
        super().__init__(message, hint)
        self.path = path


class CannotStart(ReliveError):
    """The program to be recorded could not be started (not found, not executable, 32-bit)."""

    status = 69  # EX_UNAVAILABLE of sysexits.h; as rr does


class Unsupported(ReliveError):
    """This machine does not allow what was asked for (`relive doctor` says more)."""


class DivergenceError(ReliveError):
    """The replay and the recording disagree.

    event: number of the event in the log.
    task: serial number of the task in the recording, or None.
    expected, found: what the recording says and what the replay did, readable.
    instruction: address of the task's instruction, or None.
    where: that instruction in words (mapping, offset, disassembly), or "".
    """

    status = 3

    def __init__(
        self,
        event: int,
        expected: str,
        found: str,
        instruction: int | None = None,
        *,
        task: int | None = None,
        where: str = "",
        hint: str = "",
    ) -> None:
        place = "" if instruction is None else f" at {instruction:#x}"
        if where:
            place += f" ({where})"
        who = "" if task is None else f", task {task}"
        super().__init__(
            f"replay diverged from the recording in event {event}{who}{place}:"
            f" expected {expected}, found {found}",
            hint,
        )
        self.event = event
        self.task = task
        self.expected = expected
        self.found = found
        self.instruction = instruction
        self.where = where
