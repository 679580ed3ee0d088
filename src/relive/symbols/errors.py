"""Errors of symbols."""

from __future__ import annotations

from relive.errors import ReliveError


class SymbolError(ReliveError):
    """A place that makes no sense, or a file whose symbols can't be read."""


class NotFound(SymbolError):
    """No loaded file has the symbol or line.  It may still come with a library."""


class NotYet(SymbolError):
    """The place exists, but its address is not settled yet (an IFUNC before relocation)."""
