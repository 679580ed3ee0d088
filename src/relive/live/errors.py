"""Errors of live programs."""

from __future__ import annotations

from relive.errors import ReliveError, Unsupported


class LiveError(ReliveError):
    """A live program that can't be watched as asked."""


class CannotAttach(LiveError):
    """The process is not there, not ours, or traced by somebody else."""


class CannotArm(LiveError):
    """No evaluator can have the site.

    reasons: why each was passed over, by its name.
    """

    def __init__(self, message: str, reasons: dict[str, str]) -> None:
        hint = "; ".join(f"{name}: {why}" for name, why in reasons.items())
        super().__init__(message, hint)
        self.reasons = reasons


__all__ = ["CannotArm", "CannotAttach", "LiveError", "Unsupported"]
