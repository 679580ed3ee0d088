"""Output of the command line: stderr for what a person is told, stdout for what was asked for."""

from __future__ import annotations

import os
import sys

from relive.errors import ReliveError


def tell(text: str) -> None:
    """Print `relive: text` on stderr.  Nothing happens when stderr is closed, full or left:
    telling must never be what fails."""
    try:
        sys.stderr.write(f"relive: {text}\n")
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):  # None when it was closed at the start
        return


def put(text: str) -> None:
    """Print on stdout.  BrokenPipeError when its reader left; ReliveError when it is full."""
    if sys.stdout is not None:
        try:
            sys.stdout.write(text)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _full(error) from None


def flush() -> None:
    """Write out what `put` has kept back.  Raises as `put` does."""
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _full(error) from None


def _full(error: OSError) -> ReliveError:
    drop_stdout()
    return ReliveError(f"cannot write to stdout: {error.strerror}")


def drop_stdout() -> None:
    """Send what follows nowhere: Python would complain once more when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), 1)
