"""Telling a person something on stderr, which must never be what fails."""

from __future__ import annotations

import sys


def tell(text: str) -> None:
    """Print `relive: text` on stderr.  Nothing happens when stderr is closed, full or left."""
    try:
        sys.stderr.write(f"relive: {text}\n")
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):  # None when it was closed at the start
        return
