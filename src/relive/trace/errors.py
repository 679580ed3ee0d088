"""Errors of the writing side."""

from __future__ import annotations

from relive.errors import ReliveError


class TraceWriteError(ReliveError):
    """The recording can't be continued (disk full, quota, I/O error).

    What was written before stays readable.
    errno: the kernel's reason, or 0 when a limit of the format was hit.
    """

    def __init__(self, message: str, hint: str = "", *, errno: int = 0) -> None:
        super().__init__(message, hint)
        self.errno = errno
